//! Reservations as they are wished for, and what the kernel says they are.

use super::*;

const USES: [MemoryUse; 4] = [
    MemoryUse::Frames,
    MemoryUse::Arena,
    MemoryUse::Buffer,
    MemoryUse::Structure,
];

fn check(memory: &LinuxMemory, purpose: MemoryUse, bytes: usize, align: usize) {
    let before = memory.reserved_bytes();
    let start = memory.reserve(purpose, bytes, align).unwrap();
    assert_eq!(start.as_ptr().align_offset(align), 0);
    assert!(memory.reserved_bytes() >= before + bytes);
    assert!(memory.reserved_bytes() < before + bytes + MAPPING_UNIT_BYTES);
    // SAFETY: the reservation just made, by this thread alone.
    let slice = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) };
    assert!(slice.iter().all(|&byte| byte == 0));
    slice.fill(0xA5);
    // SAFETY: the values of the reservation; the slice is not used again.
    unsafe { memory.release(start, bytes, align) };
    assert_eq!(memory.reserved_bytes(), before);
}

#[test]
fn reservations_are_zeroed_aligned_and_counted() {
    for wishes in wishes() {
        let memory = LinuxMemory::new(&wishes);
        for purpose in USES {
            check(&memory, purpose, 1, 1);
            check(&memory, purpose, 4096, 4096);
            check(&memory, purpose, MAPPING_BYTES_MIN - 1, 64);
            check(&memory, purpose, MAPPING_BYTES_MIN, 8);
            check(&memory, purpose, MAPPING_BYTES_MIN + 1, 4096);
            check(
                &memory,
                purpose,
                3 * MAPPING_BYTES_MIN,
                4 * MAPPING_BYTES_MIN,
            );
        }
    }
}

#[test]
fn large_reservations_start_on_a_huge_page() {
    let memory = LinuxMemory::new(&MachineWishes::default());
    let bytes = 2 * MAPPING_BYTES_MIN;
    let start = memory.reserve(MemoryUse::Frames, bytes, 64).unwrap();
    assert_eq!(start.as_ptr().align_offset(MAPPING_BYTES_MIN), 0);
    // SAFETY: the values of the reservation.
    unsafe { memory.release(start, bytes, 64) };
}

#[test]
fn what_cannot_be_had_is_none() {
    let memory = LinuxMemory::new(&MachineWishes::default());
    assert!(memory.reserve(MemoryUse::Buffer, 0, 8).is_none());
    assert!(memory.reserve(MemoryUse::Buffer, 8, 3).is_none());
    assert!(memory.reserve(MemoryUse::Buffer, usize::MAX, 8).is_none());
    assert!(
        memory
            .reserve(MemoryUse::Frames, isize::MAX as usize - 63, 64)
            .is_none()
    );
    assert!(memory.reserve(MemoryUse::Frames, 1 << 46, 4096).is_none());
    assert_eq!(memory.reserved_bytes(), 0);
}

/// Everything but what this machine may have none of.
fn wishes() -> Vec<MachineWishes> {
    let mut all = Vec::new();
    for huge_pages in [HugePages::Off, HugePages::Asked, HugePages::Try] {
        for prefault in [false, true] {
            for memory_nodes in [MemoryNodes::System, MemoryNodes::Interleaved] {
                all.push(MachineWishes {
                    huge_pages,
                    memory_nodes,
                    prefault,
                    direct_io: false,
                });
            }
        }
    }
    all
}

/// The lines of a file of `/proc/self` about the mapping that has `start`.
fn about_mapping(file: &str, start: NonNull<u8>) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let address = start.as_ptr().addr();
    let range = |line: &str| {
        let (first, rest) = line.split_once('-')?;
        let last = rest.split(' ').next()?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(number(first)?..number(last)?)
    };
    let mut lines = text.lines();
    let found = lines.find(|line| range(line).is_some_and(|range| range.contains(&address)));
    let head = found.expect("a mapping").to_owned();
    let about = lines.take_while(|line| range(line).is_none());
    std::iter::once(head)
        .chain(about.map(str::to_owned))
        .collect()
}

fn field(lines: &[String], name: &str) -> String {
    let line = lines.iter().find_map(|line| line.strip_prefix(name));
    line.expect(name).trim().to_owned()
}

#[test]
fn mappings_are_what_was_wished_for() {
    let has_transparent = transparent_refusal().is_none();
    // Of small mappings a huge page would be too large a part.
    for (huge_pages, bytes, flag) in [
        (HugePages::Off, ASKED_BYTES_MIN, Some("nh")),
        (HugePages::Asked, ASKED_BYTES_MIN, Some("hg")),
        (HugePages::Asked, ASKED_BYTES_MIN - MAPPING_UNIT_BYTES, None),
    ] {
        let memory = LinuxMemory::new(&MachineWishes {
            huge_pages,
            ..MachineWishes::default()
        });
        let start = memory.reserve(MemoryUse::Frames, bytes, 64).unwrap();
        let about = about_mapping("smaps", start);
        if has_transparent {
            let flags = field(&about, "VmFlags:");
            let found = flags.split(' ').find(|one| ["nh", "hg"].contains(one));
            assert_eq!(found, flag, "{flags}");
        }
        assert_eq!(field(&about, "Rss:"), "0 kB");
        // SAFETY: the values of the reservation.
        unsafe { memory.release(start, bytes, 64) };
        assert!(memory.grants().refused.is_empty() || !has_transparent);
    }
}

#[test]
fn discarded_memory_is_given_back_and_reads_as_zeroes() {
    let bytes = 2 * MAPPING_BYTES_MIN + 1;
    for prefault in [false, true] {
        let memory = LinuxMemory::new(&MachineWishes {
            prefault,
            ..MachineWishes::default()
        });
        let start = memory.reserve(MemoryUse::Arena, bytes, 64).unwrap();
        // SAFETY: the reservation has so many bytes, and nobody else uses it.
        unsafe { start.write_bytes(7, bytes) };
        // SAFETY: the values of the reservation, which nobody uses.
        unsafe { memory.discard(start, bytes) };
        let resident = field(&about_mapping("smaps", start), "Rss:");
        assert_eq!(resident == "0 kB", !prefault, "{resident}");
        // SAFETY: the last byte of the reservation.
        let last = unsafe { start.add(bytes - 1).read() };
        assert_eq!(last, if prefault { 7 } else { 0 });
        // SAFETY: the values of the reservation.
        unsafe { memory.release(start, bytes, 64) };
    }
    let memory = LinuxMemory::new(&MachineWishes::default());
    let start = memory.reserve(MemoryUse::Arena, 100, 64).unwrap();
    // SAFETY: the values of the reservation, which nobody uses.
    unsafe { memory.discard(start, 100) };
    // SAFETY: the values of the reservation.
    unsafe { memory.release(start, 100, 64) };
}

#[test]
fn prefaulted_memory_is_there() {
    let memory = LinuxMemory::new(&MachineWishes {
        prefault: true,
        ..MachineWishes::default()
    });
    let bytes = 2 * MAPPING_BYTES_MIN;
    let start = memory.reserve(MemoryUse::Buffer, bytes, 64).unwrap();
    let there = field(&about_mapping("smaps", start), "Rss:");
    assert_eq!(there, format!("{} kB", bytes >> 10));
    assert_eq!(memory.grants().given, [("prefault", "4MiB".to_owned())]);
    // SAFETY: the values of the reservation.
    unsafe { memory.release(start, bytes, 64) };
}

#[test]
fn huge_pages_that_were_set_aside_are_used_or_missed_with_words() {
    let wishes = |huge_pages| MachineWishes {
        huge_pages,
        ..MachineWishes::default()
    };
    // Not a multiple of a huge page.
    let bytes = 2 * MAPPING_BYTES_MIN + 1;
    let memory = LinuxMemory::new(&wishes(HugePages::Only));
    match memory.reserve(MemoryUse::Frames, bytes, 64) {
        Some(start) => {
            let about = about_mapping("smaps", start);
            assert_eq!(field(&about, "KernelPageSize:"), "2048 kB");
            let given = memory.grants().given;
            assert_eq!(given, [("huge_pages", "6MiB_set_aside".to_owned())]);
            // SAFETY: the values of the reservation.
            unsafe { memory.release(start, bytes, 64) };
            assert!(memory.account().huge.is_empty());
        }
        None => {
            println!("note: no huge pages are set aside here (vm.nr_hugepages)");
            let (wish, words) = &memory.grants().refused[0];
            assert_eq!(*wish, "huge_pages");
            assert!(words.contains("3 huge pages of 2 MiB"), "{words}");
        }
    }
    // More than any machine has set aside.
    let bytes = 1 << 44;
    let memory = LinuxMemory::new(&wishes(HugePages::Only));
    assert!(memory.reserve(MemoryUse::Frames, bytes, 64).is_none());
    let words = memory.grants().refused[0].1.clone();
    assert!(words.contains("raise vm.nr_hugepages"), "{words}");
    let memory = LinuxMemory::new(&wishes(HugePages::Try));
    let bytes = 1 << 32;
    let start = memory.reserve(MemoryUse::Frames, bytes, 64).unwrap();
    let grants = memory.grants();
    let is_huge = grants.given == [("huge_pages", "4096MiB_set_aside".to_owned())];
    assert!(is_huge || grants.refused[0].0 == "huge_pages");
    // SAFETY: the values of the reservation.
    unsafe { memory.release(start, bytes, 64) };
    assert_eq!(memory.reserved_bytes(), 0);
}

#[test]
fn memory_lies_on_the_nodes_that_were_named() {
    let Ok(nodes) = processors::nodes(Path::new(SYSTEM_ROOT)) else {
        println!("SKIPPED: this kernel tells of no memory nodes");
        return;
    };
    let node = nodes.iter().find(|node| node.has_memory).unwrap().number;
    let named = (
        MemoryNodes::Only(vec![node]),
        "bind",
        format!("4MiB_on_nodes_{node}"),
    );
    let numbers: Vec<u32> = nodes
        .iter()
        .filter(|node| node.has_memory)
        .map(|node| node.number)
        .collect();
    let all = format!("4MiB_spread_over_nodes_{}", number_list_text(&numbers));
    for (memory_nodes, policy, words) in [named, (MemoryNodes::Interleaved, "interleave", all)] {
        let memory = LinuxMemory::new(&MachineWishes {
            memory_nodes,
            ..MachineWishes::default()
        });
        let bytes = 2 * MAPPING_BYTES_MIN;
        let start = memory.reserve(MemoryUse::Buffer, bytes, 64).unwrap();
        let grants = memory.grants();
        if let [(wish, words)] = &grants.refused[..] {
            // In a container without the right to it.
            assert_eq!(*wish, "numa");
            println!("SKIPPED: {words}");
        } else {
            assert_eq!(grants.given, [("numa", words)]);
            let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
            let address = format!("{:x} ", start.as_ptr().addr());
            let line = maps.lines().find(|line| line.starts_with(&address));
            let line = line.expect("the mapping has a policy of its own");
            assert!(line.contains(&format!("{policy}:")), "{line}");
        }
        // SAFETY: the values of the reservation.
        unsafe { memory.release(start, bytes, 64) };
    }
}

#[test]
fn nodes_that_cannot_be_had_are_refused_with_words() {
    let node = |number, has_memory| Node {
        number,
        processors: vec![number],
        has_memory,
    };
    let all = [
        node(0, true),
        node(1, false),
        node(70, true),
        node(2_000, true),
    ];
    let of = |numbers: &[u32]| policy_of(libc::MPOL_BIND, Some(numbers), &all);
    let policy = of(&[0, 70]).unwrap();
    assert_eq!(policy.words, "on_nodes_0,70");
    assert_eq!((policy.nodes[0], policy.nodes[1]), (1, 1 << 6));
    for (numbers, words) in [
        (
            &[3][..],
            "this machine has no memory node 3; it has 0-1,70,2000",
        ),
        (&[1], "memory node 1 has no memory"),
        (&[2_000], "memory node 2000 is past what a policy can name"),
    ] {
        assert_eq!(of(numbers).unwrap_err(), words);
    }
    let memory = LinuxMemory::new(&MachineWishes {
        memory_nodes: MemoryNodes::Only(vec![9_999]),
        ..MachineWishes::default()
    });
    // Refused, and there all the same.
    let start = memory.reserve(MemoryUse::Buffer, 8, 8).unwrap();
    // SAFETY: the values of the reservation.
    unsafe { memory.release(start, 8, 8) };
    assert_eq!(memory.grants().refused[0].0, "numa");
}

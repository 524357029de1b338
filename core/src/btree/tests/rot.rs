//! One flipped bit anywhere in the page file: right data or an error, never wrong data.

use super::*;
use crate::error::{Error, Result};
use crate::format::checksum::Checksum;
use crate::format::superblock::{Superblock, SuperblockFound};
use lightning_platform::File;

fn read_all(setup: &Setup, storage: &SimStorage, root: Root, model: &Model) -> Result<()> {
    let bench = setup.open(storage)?;
    assert_eq!(bench.store.published().roots, root.page);
    let mut cursor = TreeCursor::new(&bench.pager, root, true);
    let mut key = [0; 1_024];
    let mut seen = model.iter();
    cursor.seek(CursorPosition::First)?;
    while let Some(entry) = cursor.entry() {
        let expected = seen.next().unwrap();
        assert_eq!(entry.value, expected.1.as_slice());
        let length = cursor.copy_key(&mut key);
        assert_eq!(&key[..length], expected.0.as_slice());
        cursor.advance()?;
    }
    assert_eq!(seen.next(), None);
    for (key, value) in model {
        let found = get(&bench.pager, &root, key, true)?.unwrap();
        assert_eq!(found.value(), value.as_slice());
    }
    Ok(())
}

fn flip_each_byte(setup: &Setup, found_least: usize) {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024).unwrap();
    let mut random = Random::new(3);
    let changes = random_changes(&mut random, SMALL, 100, 0);
    let record = edit(&mut bench, &mut editor, &RootRecord::default(), &changes).unwrap();
    bench.flip(record.root).unwrap();
    drop(bench);
    let mut model = Model::new();
    apply_to(&mut model, &changes);
    let root = Root {
        page: record.root,
        table: 16,
    };
    let image = storage.file_bytes(File::Pages).unwrap();
    let block = 1_024;
    let mut found = 0;
    for offset in 0..image.len() as u64 {
        storage.flip_bit(File::Pages, offset, (offset % 8) as u32);
        match read_all(setup, &storage, root, &model) {
            Ok(()) => {}
            Err(Error::Corruption { .. } | Error::Unsupported { .. } | Error::NotADatabase) => {
                assert!(offset >= 2 * block, "a superblock at {offset}");
                found += 1;
            }
            Err(other) => panic!("byte {offset}: {other:?}"),
        }
        if offset < 2 * block && offset % block < 512 {
            // Both slots hold the state again, perhaps as a newer writing of it.
            let mended = storage.file_bytes(File::Pages).unwrap();
            let generation = |slot: usize| match Superblock::decode(
                &mended[slot * block as usize..],
                Checksum::default(),
            ) {
                SuperblockFound::Valid(found) => found.generation,
                other => panic!("byte {offset} was not mended: {other:?}"),
            };
            assert_eq!(generation(0), generation(1));
            assert!(
                mended[1_536..] == image[1_536..],
                "byte {offset} changed others"
            );
        } else {
            storage.flip_bit(File::Pages, offset, (offset % 8) as u32);
        }
    }
    assert!(found >= found_least, "{found}");
}

#[test]
fn a_flipped_bit_is_never_served() {
    flip_each_byte(&Setup::plain(1_024, 24), 5 * 1_024);
}

#[test]
fn a_flipped_bit_is_never_served_with_codec_and_cipher() {
    let mut setup = Setup::plain(1_024, 24);
    setup.unit_bytes = 128;
    setup.codec = Some(Arc::new(TestCodec));
    setup.cipher = Some(Arc::new(TestCipher::new(5)));
    flip_each_byte(&setup, 2 * 1_024);
}

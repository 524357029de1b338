//! What is wished of the machine before there are threads, and what became of all wishes.

use lightning_db::MachineGrants;
use lightning_ops::configuration::{Configuration, Numa};

/// Keeps this thread, and so all that are started later, on the processors of the settings:
/// those of `service.cpu_affinity`, or else those of the nodes of `service.numa`.
pub(super) fn keep_to_processors(configuration: &Configuration) -> MachineGrants {
    let service = &configuration.service;
    let (wish, kept) = match (&service.cpu_affinity, &service.numa) {
        (Some(numbers), _) => ("cpu_affinity", lightning_db::keep_to_processors(numbers)),
        (None, Numa::Nodes(numbers)) => ("numa_processors", lightning_db::keep_to_nodes(numbers)),
        (None, Numa::Off | Numa::Interleave) => return MachineGrants::default(),
    };
    let mut grants = MachineGrants::default();
    match kept {
        Ok(kept) => grants.given.push((wish, kept)),
        Err(error) => grants.refused.push((wish, error.to_string())),
    }
    grants
}

/// All that was given and refused, with what doesn't go together.
pub(super) fn all_grants(
    pinned: MachineGrants,
    of_database: &MachineGrants,
    configuration: &Configuration,
) -> MachineGrants {
    let mut all = pinned;
    all.given.extend_from_slice(&of_database.given);
    all.refused.extend_from_slice(&of_database.refused);
    if let Some(pages) = configuration.performance.prefetch_pages {
        let is_direct = |(wish, _): &(&str, String)| *wish == "direct_io";
        if all.given.iter().any(is_direct) {
            let words = "with direct_io nothing is read ahead: there is no cache to read into";
            all.refused.push(("prefetch_enabled", words.to_owned()));
        } else {
            all.given.push(("prefetch_pages", pages.to_string()));
        }
    }
    all
}

//! `CLIENT TRACKING` and what belongs to it: a client that keeps values is told when they
//! hold no more ([`crate::tracking`]).

use super::{Call, Outcome};
use crate::client::Tracks;
use crate::failure::Failure;
use crate::tracking::Options;
use std::collections::BTreeSet;
use std::sync::Arc;

type Prefix = Arc<[u8]>;

/// The options behind `CLIENT TRACKING ON`.
fn options(call: &Call<'_, '_, '_>) -> Result<(Options, Vec<Prefix>), Failure> {
    let (mut options, mut prefixes) = (Options::default(), Vec::new());
    let mut index = 3;
    while index < call.count() {
        let has_more = index + 1 < call.count();
        if call.is_word(index, "redirect") && has_more {
            if options.redirection.is_some() {
                return Err(Failure::reply(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let id = u64::try_from(call.integer(index + 1)?).ok();
            options.redirection = id.filter(|id| call.server.clients().find(*id).is_some());
            if options.redirection.is_none() {
                return Err(Failure::reply(
                    "ERR The client ID you want redirect to does not exist",
                ));
            }
            index += 1;
        } else if call.is_word(index, "bcast") {
            options.is_broadcast = true;
        } else if call.is_word(index, "optin") {
            options.is_opt_in = true;
        } else if call.is_word(index, "optout") {
            options.is_opt_out = true;
        } else if call.is_word(index, "noloop") {
            options.skips_own = true;
        } else if call.is_word(index, "prefix") && has_more {
            prefixes.push(Arc::from(call.at(index + 1)));
            index += 1;
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 1;
    }
    Ok((options, prefixes))
}

/// Whether the options go together, and with those that count now.
fn check(options: &Options, has_prefixes: bool, before: Option<&Options>) -> Outcome {
    const OTHER_MODE: &str =
        "before disabling tracking for this client, and then re-enabling it with a different mode.";
    let refused = |message: &str| Err(Failure::reply(format!("ERR {message}")));
    if has_prefixes && !options.is_broadcast {
        return refused("PREFIX option requires BCAST mode to be enabled");
    }
    if before.is_some_and(|before| before.is_broadcast != options.is_broadcast) {
        return refused(&format!("You can't switch BCAST mode on/off {OTHER_MODE}"));
    }
    if options.is_broadcast && (options.is_opt_in || options.is_opt_out) {
        return refused("OPTIN and OPTOUT are not compatible with BCAST");
    }
    if options.is_opt_in && options.is_opt_out {
        return refused("You can't specify both OPTIN mode and OPTOUT mode");
    }
    let is_switched = |before: &Options| {
        options.is_opt_in && before.is_opt_out || options.is_opt_out && before.is_opt_in
    };
    if before.is_some_and(is_switched) {
        return refused(&format!("You can't switch OPTIN/OPTOUT mode {OTHER_MODE}"));
    }
    Ok(())
}

/// Refuses prefixes of which one begins as another does: their keys would be told twice.
fn check_prefixes(prefixes: &[Prefix], before: &BTreeSet<Prefix>) -> Outcome {
    let overlap =
        |first: &[u8], second: &[u8]| first.starts_with(second) || second.starts_with(first);
    let refused = |prefix: &[u8], which: &str, other: &[u8]| {
        Err(Failure::reply(format!(
            "ERR Prefix '{}' overlaps with {which} prefix '{}'. Prefixes for a single client must not overlap.",
            String::from_utf8_lossy(prefix),
            String::from_utf8_lossy(other)
        )))
    };
    for (index, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = before.iter().find(|other| overlap(other, prefix)) {
            return refused(prefix, "an existing", other);
        }
        let rest = prefixes.iter().skip(index + 1);
        if let Some(other) = rest.into_iter().find(|other| overlap(other, prefix)) {
            return refused(prefix, "another provided", other);
        }
    }
    Ok(())
}

pub(super) fn tracking(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (mut options, mut prefixes) = options(call)?;
    let id = call.client.shared.id;
    if call.is_word(2, "on") {
        let before = call.server.tracking().options(id);
        check(&options, !prefixes.is_empty(), before.as_ref())?;
        if options.is_broadcast {
            let none = BTreeSet::new();
            let existing = before.as_ref().map_or(&none, |before| &before.prefixes);
            check_prefixes(&prefixes, existing)?;
            if prefixes.is_empty() {
                prefixes.push(Arc::from(&b""[..]));
            }
        }
        options.prefixes = prefixes.into_iter().collect();
        call.client.tracks = Some(Tracks {
            is_broadcast: options.is_broadcast,
            is_opt_in: options.is_opt_in,
            is_opt_out: options.is_opt_out,
        });
        call.server.begin_tracking(id, options);
    } else if call.is_word(2, "off") {
        call.client.tracks = None;
        call.client.is_caching = false;
        call.server.end_tracking(id);
    } else {
        return Err(Failure::SYNTAX);
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn caching(call: &mut Call<'_, '_, '_>) -> Outcome {
    let Some(tracks) = call.client.tracks else {
        return Err(Failure::reply(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let is_refused = if call.is_word(2, "yes") {
        (!tracks.is_opt_in).then_some("YES is only valid when tracking is enabled in OPTIN mode.")
    } else if call.is_word(2, "no") {
        (!tracks.is_opt_out).then_some("NO is only valid when tracking is enabled in OPTOUT mode.")
    } else {
        return Err(Failure::SYNTAX);
    };
    if let Some(reason) = is_refused {
        return Err(Failure::reply(format!("ERR CLIENT CACHING {reason}")));
    }
    call.client.is_caching = true;
    call.reply.ok();
    Ok(())
}

/// The number of the client that is told in this one's place: 0 for itself, -1 for none.
pub(super) fn redirection_of(options: Option<&Options>) -> i64 {
    options.map_or(-1, |options| {
        i64::try_from(options.redirection.unwrap_or(0)).unwrap_or(i64::MAX)
    })
}

pub(super) fn redirection(call: &mut Call<'_, '_, '_>) -> Outcome {
    let options = call.server.tracking().options(call.client.shared.id);
    call.reply.integer(redirection_of(options.as_ref()));
    Ok(())
}

pub(super) fn tracking_info(call: &mut Call<'_, '_, '_>) -> Outcome {
    let options = call.server.tracking().options(call.client.shared.id);
    let is_caching = call.client.is_caching;
    let of = options.clone().unwrap_or_default();
    let flags = [
        (options.is_some(), "on"),
        (options.is_none(), "off"),
        (of.is_broadcast, "bcast"),
        (of.is_opt_in, "optin"),
        (of.is_opt_in && is_caching, "caching-yes"),
        (of.is_opt_out, "optout"),
        (of.is_opt_out && is_caching, "caching-no"),
        (of.skips_own, "noloop"),
        (of.is_broken, "broken_redirect"),
    ];
    let reply = &mut *call.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.iter().filter(|(applies, _)| *applies).count());
    for (_, flag) in flags.iter().filter(|(applies, _)| *applies) {
        reply.bulk(flag.as_bytes());
    }
    reply.bulk(b"redirect");
    reply.integer(redirection_of(options.as_ref()));
    reply.bulk(b"prefixes");
    reply.array(of.prefixes.len());
    for prefix in &of.prefixes {
        reply.bulk(prefix);
    }
    Ok(())
}

//! `/discovery`: what comes, by event and family of channels, and what that suggests.

use serde::Serialize;

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use crate::discovery::{Discovered, FamilyReport, Judgement, judge};

/// The query of a listing.
#[derive(Debug)]
pub(super) struct DiscoveryQuery {
    app: Option<String>,
    limit: usize,
}

#[derive(Serialize)]
struct Listing {
    /// Whether it is on at present.
    discover: bool,
    /// When the process began to look.
    since: String,
    one_in: u64,
    left_out: u64,
    too_long: u64,
    families: Vec<FamilyView>,
    /// Families that are not listed.
    more: usize,
}

#[derive(Serialize)]
struct FamilyView {
    #[serde(flatten)]
    family: FamilyReport,
    /// Why no rule is proposed, as a sentence.
    why: Option<String>,
    judgement: Judgement,
}

impl DiscoveryQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// The query has unknown parameters, or a limit out of bounds.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let query = Query::parse(query, &["app", "limit"])?;
        Ok(Self { app: query.get("app").map(Into::into), limit: query.limit()? })
    }

    /// Lists the families, those first that would save most.
    pub(super) fn list(&self, admin: &Admin) -> Reply {
        let discovery = admin.report.discovery();
        let Discovered { families, one_in, left_out, too_long } = discovery.report();
        let of_app = families.into_iter().filter(|family| self.app.as_ref().is_none_or(|app| *app == family.app));
        let mut families: Vec<FamilyView> = of_app.map(view).collect();
        families.sort_by_key(|view| {
            let saved = view.judgement.equal_but;
            let proposed = view.judgement.proposal.is_some();
            std::cmp::Reverse((proposed, saved.calls + saved.deliveries, view.family.count))
        });
        let more = families.len().saturating_sub(self.limit);
        families.truncate(self.limit);
        reply::json(&Listing {
            discover: discovery.is_on(),
            since: rfc3339(admin.calendar.unix_time(admin.calendar.clock().beginning())),
            one_in,
            left_out,
            too_long,
            families,
            more,
        })
    }
}

fn view(family: FamilyReport) -> FamilyView {
    let judgement = judge(&family);
    let why = judgement.nothing.as_ref().map(ToString::to_string);
    FamilyView { family, why, judgement }
}

//! How the process takes part in a memory that several processes share.

use crate::assignment::Membership;
use crate::cluster::{ClusterOptions, StoreLog, Switchboard};
use crate::config::{Cluster, Config};
use crate::shutdown::Tasks;

/// The largest number of calls that wait for their answers on one connection.
const MAX_CALLS: usize = 4_096;

/// The membership that `cluster` describes. `settlements`: the tasks that the end of the process waits for.
pub(super) fn new(cluster: &Cluster, config: &Config, settlements: &Tasks) -> Membership {
    let upstream = &config.upstream;
    let exchange = upstream.connect_timeout + upstream.timeout;
    let options = ClusterOptions {
        link: cluster.link(Vec::new(), MAX_CALLS),
        prefix: cluster.prefix.clone(),
        node: cluster.node.clone(),
        terms: cluster.terms(config.assignments.doubt_period, exchange),
        isolated: cluster.isolated,
        switchboard: Switchboard::default(),
        store_log: StoreLog::default(),
    };
    Membership { options, settlements: settlements.clone(), keepers: Tasks::default() }
}

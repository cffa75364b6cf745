//! The admin API: what it says of connections, teams, the policy and the last minutes.

mod reads;

//! The admin API: what it says of connections, teams, the policy and the last minutes; what it does; and a page's session.

mod disconnect;
mod live;
mod login;
mod openapi;
mod reads;

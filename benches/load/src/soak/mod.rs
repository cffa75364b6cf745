//! The soak: honest clients whose every delivery is checked, among clients that do everything wrong, for minutes.
//!
//! The life of a soak: [`server`] starts flowgate, [`run`] lets the [`honest`] come, warms up, reads what flowgate holds
//! ([`gauges`]), lets the [`hostile`] loose again, and reads once more; [`books`] know what each honest client must have
//! heard, and [`verdict`] says what was right. Everything runs in one thread, over the [`session`]s of [`wire`]s to one [`target`], and
//! shares one [`stage`].

pub mod books;
pub mod cast;
pub mod chance;
pub mod event;
pub mod gauges;
pub mod honest;
pub mod hostile;
pub mod run;
pub mod server;
pub mod session;
pub mod stage;
pub mod target;
pub mod verdict;
pub mod wire;

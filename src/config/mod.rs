//! Configuration: what the program is told, as validated plain data.

pub mod settings;

pub use settings::Settings;

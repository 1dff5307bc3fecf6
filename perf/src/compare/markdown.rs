//! x
pub fn page(_: &super::data::Comparison) -> String {
    String::new()
}

//! x
pub fn page(_: &super::data::Comparison) -> Result<String, String> {
    Ok(String::new())
}

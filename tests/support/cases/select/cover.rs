use crate::support::Case;

/// Those of components, with an order.
pub fn cases() -> Vec<Case> {
    super::components::cases_of("cover")
}

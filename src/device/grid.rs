//! Workgroup counts within the limits of a grid.

use crate::error::Error;

/// Folds a linear count of workgroups into two dimensions of at most `limit` each.
///
/// Shaders compute the linear id as `y * num_workgroups.x + x`, and return early past their count.
pub(crate) fn fold(kernel: &'static str, groups: u64, limit: u32) -> Result<[u32; 2], Error> {
    let limit = u64::from(limit);
    let (x, y) = if groups <= limit { (groups, u64::from(groups > 0)) } else { (limit, groups.div_ceil(limit)) };
    if y > limit || groups > u64::from(u32::MAX) {
        return Err(Error::TooManyGroups { kernel, groups, limit: (limit * limit).min(u64::from(u32::MAX)) });
    }
    Ok([x as u32, y as u32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_past_one_dimension() {
        assert_eq!(fold("k", 0, 65535), Ok([0, 0]));
        assert_eq!(fold("k", 1, 65535), Ok([1, 1]));
        assert_eq!(fold("k", 65535, 65535), Ok([65535, 1]));
        assert_eq!(fold("k", 65536, 65535), Ok([65535, 2]));
        assert!(matches!(fold("k", 1 << 33, 65535), Err(Error::TooManyGroups { .. })));
    }
}

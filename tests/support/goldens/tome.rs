//! ToMe and tomesd.

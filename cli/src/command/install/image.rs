//! `hostler node image`.

use crate::{Admin, args::ImageArgs, command::Context, error::Error};

/// `hostler node image --for NAME…`
pub(in crate::command) async fn image(_: &Context, _: &mut Admin, _: &ImageArgs) -> Result<(), Error> {
    Err(Error::Failed("not there yet".into()))
}

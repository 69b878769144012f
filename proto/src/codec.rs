//! Messages as bytes, with buffers of a few KiB.
//!
//! Each end of a stream keeps a buffer for as long as the stream lives, and a coordinator holds a stream for every
//! node. tonic begins with 8 KiB on either side.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec as TonicCodec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a buffer begins with: a report of an idle node has some hundred bytes.
pub(crate) const BUFFER_BYTES: usize = 4 << 10;

/// Messages that are ready at the same time are sent together until they have this much. What is there and one part of
/// a long message fit into a buffer as it began.
pub(crate) const BATCH_BYTES: usize = 1 << 10;

/// The codec of every service.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, BATCH_BYTES)
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

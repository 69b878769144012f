//! Calls by name, as the descriptors list them: bytes out, bytes in.

use hostler_proto::SESSION_METADATA;
use prost::{
    Message as _,
    bytes::{Buf as _, BufMut as _},
};
use prost_types::FileDescriptorSet;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// One call of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub service: String,
    pub method: String,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.service, self.method)
    }
}

/// Every call of every service of the wire.
pub(crate) fn calls() -> Vec<Call> {
    let set = FileDescriptorSet::decode(hostler_proto::DESCRIPTORS).unwrap();
    let services = set.file.iter().filter(|file| file.package() == "hostler.v1").flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            let call = |method: &str| Call { service: service.name().to_owned(), method: method.to_owned() };
            service.method.iter().map(move |method| call(method.name()))
        })
        .collect()
}

/// Makes a call with one empty message, which is a whole one of any type: the door comes before the content. All four
/// kinds of call look the same on the wire. The first answer, or why there is none.
pub(crate) async fn make(channel: &Channel, call: &Call, session: Option<&str>) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let mut request = Request::new(tokio_stream::once(Vec::new()));
    if let Some(session) = session {
        request.metadata_mut().insert(SESSION_METADATA, session.parse().unwrap());
    }
    let path = format!("/hostler.v1.{}/{}", call.service, call.method).parse().unwrap();
    let mut answers = grpc.streaming(request, path, RawCodec).await?.into_inner();
    answers.message().await.map(drop)
}

/// Makes a call and never sends its message: how it ends.
pub(crate) async fn unsaid(channel: &Channel, call: &Call, session: &str) -> Status {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::pending::<Vec<u8>>());
    request.metadata_mut().insert(SESSION_METADATA, session.parse().unwrap());
    let path = format!("/hostler.v1.{}/{}", call.service, call.method).parse().unwrap();
    match grpc.streaming(request, path, RawCodec).await {
        Ok(mut answers) => answers.get_mut().message().await.expect_err("it says nothing"),
        Err(status) => status,
    }
}

#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        Ok(Some(bytes.to_vec()))
    }
}

//! Frames and the few messages of the TWS protocol that are spoken here.
//!
//! A client opens with `API\0`, then everything is a frame: a length of four bytes (big endian) and a body.
//! The first frame each way is text (version range; version and time), all later ones begin with a message id of
//! four bytes, which for protobuf bodies is 200 above the number of the message's kind.

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client says before its first frame.
pub(crate) const GREETING: &[u8; 4] = b"API\0";
/// The version that this server speaks: the first with protobuf bodies in every message.
pub(crate) const SERVER_VERSION: i32 = 213;
/// The code of the refusal of a second session with the same client id.
pub(crate) const CLIENT_ID_IN_USE: i32 = 326;
/// The code of the answer to a kind of request that is not known.
pub(crate) const UNKNOWN_REQUEST: i32 = 505;

/// Protobuf bodies are marked by message ids above this.
const PROTOBUF: i32 = 200;
/// Clients send small requests; what is longer is no frame.
const LONGEST_FRAME: usize = 1 << 20;

/// Kinds of messages from the client.
pub(crate) mod request {
    pub(crate) const MANAGED_ACCOUNTS: i32 = 17;
    pub(crate) const CURRENT_TIME: i32 = 49;
    pub(crate) const POSITIONS: i32 = 61;
    pub(crate) const ACCOUNT_SUMMARY: i32 = 62;
    pub(crate) const CANCEL_ACCOUNT_SUMMARY: i32 = 63;
    pub(crate) const CANCEL_POSITIONS: i32 = 64;
    pub(crate) const START_API: i32 = 71;
    pub(crate) const CURRENT_TIME_MILLIS: i32 = 105;
}

/// Kinds of messages to the client.
pub(crate) mod response {
    pub(crate) const ERROR: i32 = 4;
    pub(crate) const NEXT_VALID_ID: i32 = 9;
    pub(crate) const MANAGED_ACCOUNTS: i32 = 15;
    pub(crate) const CURRENT_TIME: i32 = 49;
    pub(crate) const POSITION: i32 = 61;
    pub(crate) const POSITION_END: i32 = 62;
    pub(crate) const ACCOUNT_SUMMARY: i32 = 63;
    pub(crate) const ACCOUNT_SUMMARY_END: i32 = 64;
    pub(crate) const CURRENT_TIME_MILLIS: i32 = 109;
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartApi {
    #[prost(int32, optional, tag = "1")]
    pub(crate) client_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NextValidId {
    #[prost(int32, optional, tag = "1")]
    pub(crate) order_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ManagedAccounts {
    #[prost(string, optional, tag = "1")]
    pub(crate) accounts_list: Option<String>,
}

/// Seconds or milliseconds since 1970, depending on the kind.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CurrentTime {
    #[prost(int64, optional, tag = "1")]
    pub(crate) time: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AccountSummaryRequest {
    #[prost(int32, optional, tag = "1")]
    pub(crate) req_id: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub(crate) tags: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AccountSummary {
    #[prost(int32, optional, tag = "1")]
    pub(crate) req_id: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub(crate) account: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) tag: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) value: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub(crate) currency: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AccountSummaryEnd {
    #[prost(int32, optional, tag = "1")]
    pub(crate) req_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Contract {
    #[prost(string, optional, tag = "2")]
    pub(crate) symbol: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) sec_type: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(crate) currency: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Position {
    #[prost(string, optional, tag = "1")]
    pub(crate) account: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) contract: Option<Contract>,
    /// A decimal number as text.
    #[prost(string, optional, tag = "3")]
    pub(crate) position: Option<String>,
    #[prost(double, optional, tag = "4")]
    pub(crate) avg_cost: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PositionEnd {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorMessage {
    #[prost(int32, optional, tag = "1")]
    pub(crate) id: Option<i32>,
    #[prost(int64, optional, tag = "2")]
    pub(crate) error_time: Option<i64>,
    #[prost(int32, optional, tag = "3")]
    pub(crate) error_code: Option<i32>,
    #[prost(string, optional, tag = "4")]
    pub(crate) error_msg: Option<String>,
}

/// Why a connection cannot be read any further.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The other side closed it, between two frames or within one.
    Closed,
    /// It does not speak the protocol.
    Garbled(String),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        // Reset, aborted, end of file: for a session these are one thing.
        Self::Closed
    }
}

/// Reads one frame's body.
pub(crate) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Ended> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_FRAME {
        return Err(Ended::Garbled(format!("a frame of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// Splits a body into its kind and its protobuf payload.
pub(crate) fn split(body: &[u8]) -> Result<(i32, &[u8]), Ended> {
    let garbled = || Ended::Garbled("a frame without a protobuf message id".to_owned());
    let (id, payload) = body.split_first_chunk::<4>().ok_or_else(garbled)?;
    let kind = i32::from_be_bytes(*id)
        .checked_sub(PROTOBUF)
        .filter(|kind| *kind > 0);
    Ok((kind.ok_or_else(garbled)?, payload))
}

/// Decodes a payload, which a client may have cut.
pub(crate) fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Ended> {
    M::decode(payload).map_err(|error| Ended::Garbled(format!("a payload that does not decode: {error}")))
}

/// Sends a frame with this body.
pub(crate) async fn write_frame(to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), Ended> {
    let length = u32::try_from(body.len()).map_err(|_| Ended::Garbled("an answer too long".to_owned()))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    Ok(to.write_all(&frame).await?)
}

/// Sends one message.
pub(crate) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    kind: i32,
    message: &impl Message,
) -> Result<(), Ended> {
    let mut body = (kind + PROTOBUF).to_be_bytes().to_vec();
    body.extend(message.encode_to_vec());
    write_frame(to, &body).await
}

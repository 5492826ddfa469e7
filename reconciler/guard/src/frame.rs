//! Frames: a length (`u32`, little endian), then one JSON document.
//!
//! Works on byte slices alone, so that the guard's poll loop and an agent's runtime use the same code.

use crate::wire::MAX_FRAME;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A frame could not be written or read. The connection is of no use after it: close it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A document or an announced length above [`MAX_FRAME`].
    #[error("a frame of {length} bytes exceeds the limit of {MAX_FRAME}: close the connection")]
    TooLong {
        /// The length that was asked for.
        length: usize,
    },
    /// The frame was whole, its document is not what was expected here.
    #[error("a frame of {length} bytes does not hold the expected document: {source}")]
    Document {
        /// The frame's length.
        length: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
}

/// One document as a frame.
pub fn encode<T: Serialize>(document: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, document)
        .map_err(|source| FrameError::Document { length: 0, source })?;
    let length = frame.len() - 4;
    match u32::try_from(length) {
        Ok(announced) if announced <= MAX_FRAME => frame[..4].copy_from_slice(&announced.to_le_bytes()),
        Ok(_) | Err(_) => return Err(FrameError::TooLong { length }),
    }
    Ok(frame)
}

/// Cuts a stream of bytes into documents.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How much of the buffer was handed out already.
    taken: usize,
}

impl Decoder {
    /// Appends bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes the frame at hand still needs; at least one.
    pub(crate) fn missing(&self) -> usize {
        let rest = &self.buffer[self.taken..];
        match rest.split_first_chunk::<4>() {
            Some((announced, rest)) => (u32::from_le_bytes(*announced) as usize)
                .saturating_sub(rest.len())
                .max(1),
            None => 4 - rest.len(),
        }
    }

    /// The bytes of the next whole frame, without its length, if one has arrived.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((announced, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let announced = u32::from_le_bytes(*announced);
        let length = announced as usize;
        if announced > MAX_FRAME {
            return Err(FrameError::TooLong { length });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.taken + 4;
        self.taken = start + length;
        Ok(Some(&self.buffer[start..start + length]))
    }

    /// The next whole document, if one has arrived.
    pub fn next_document<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(frame) = self.next_frame()? else {
            return Ok(None);
        };
        match serde_json::from_slice(frame) {
            Ok(document) => Ok(Some(document)),
            Err(source) => Err(FrameError::Document {
                length: frame.len(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Answer, Body, Message, Refusal, Request};

    #[test]
    fn documents_survive_any_cutting_of_the_stream() {
        let requests: Vec<Request> = (0..3)
            .map(|id| Request {
                id,
                body: Body::Start {
                    service: "s".repeat(id as usize * 100),
                },
            })
            .collect();
        let stream: Vec<u8> = requests
            .iter()
            .flat_map(|request| encode(request).unwrap())
            .collect();
        for size in [1, 2, 3, 5, 64, stream.len()] {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                decoder.push(piece);
                while let Some(request) = decoder.next_document::<Request>().unwrap() {
                    seen.push(request);
                }
            }
            assert_eq!(seen, requests, "pieces of {size}");
        }
    }

    #[test]
    fn answers_and_refusals_survive_the_road() {
        let results = [
            Ok(Answer::Done),
            Ok(Answer::Frozen {
                processes: 2,
                took_us: 3,
            }),
            Err(Refusal::NoHolder),
            Err(Refusal::Failed { error: "why".into() }),
        ];
        for (id, result) in results.into_iter().enumerate() {
            let message = Message::Answer {
                id: id as u64,
                result,
            };
            let mut decoder = Decoder::default();
            decoder.push(&encode(&message).unwrap());
            assert_eq!(decoder.next_document::<Message>().unwrap(), Some(message));
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_it_is_awaited() {
        let mut decoder = Decoder::default();
        decoder.push(&(MAX_FRAME + 1).to_le_bytes());
        assert!(matches!(
            decoder.next_document::<Request>(),
            Err(FrameError::TooLong { .. })
        ));
    }
}

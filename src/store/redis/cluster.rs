//! A cluster: finds the node of a key, and keeps a link to each node.
//!
//! This replaces the driver's cluster client, which silently repeats a write whose answer was lost,
//! or, with retries off, leaves nodes disconnected.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{Arg, Cmd, RedisError, Value};
use tokio::{sync, time::timeout};

use super::{connection::client, link::Link};

/// How long a node may take to return the slots before another is asked.
const ASK_FOR_SLOTS: Duration = Duration::from_millis(500);

pub(super) struct Cluster {
    addresses: Addresses,
    /// The configured nodes, `host:port`.
    seeds: Vec<String>,
    /// A link to each node ever seen.
    links: Mutex<HashMap<String, Arc<Link>>>,
    slots: ArcSwapOption<Slots>,
    /// Held while the slots are loaded.
    refreshing: sync::Mutex<()>,
}

/// Makes a client from a node's address.
pub(super) struct Addresses {
    pub(super) scheme: &'static str,
    /// `user:password@` as in the URL, or nothing.
    pub(super) credentials: String,
    pub(super) root: Option<Vec<u8>>,
    pub(super) timeout: Duration,
}

/// The masters by the last slot that each has, in order.
pub(super) struct Slots(Vec<(u16, Arc<Link>)>);

impl Cluster {
    /// Connects to one of the nodes, and learns the others from it.
    pub(super) async fn connect(addresses: Addresses, seeds: Vec<String>) -> Result<Self, RedisError> {
        let cluster = Self {
            addresses,
            seeds,
            links: Mutex::default(),
            slots: ArcSwapOption::empty(),
            refreshing: sync::Mutex::default(),
        };
        cluster.refresh(None).await?;
        Ok(cluster)
    }

    /// The known slots.
    pub(super) async fn slots(&self) -> Result<Arc<Slots>, RedisError> {
        match self.slots.load_full() {
            Some(slots) => Ok(slots),
            None => self.refresh(None).await,
        }
    }

    /// The link to a node, `host:port`; `None` for an invalid address.
    pub(super) fn link(&self, node: &str) -> Option<Arc<Link>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(node) {
            return Some(Arc::clone(link));
        }
        let Addresses { scheme, credentials, root, timeout } = &self.addresses;
        let client = client(&format!("{scheme}://{credentials}{node}"), root.as_deref())?;
        let link = Arc::new(Link::to(client, *timeout));
        links.insert(node.to_owned(), Arc::clone(&link));
        Some(link)
    }

    /// Reloads the slots, unless another caller has done so since `known`.
    pub(super) async fn refresh(&self, known: Option<&Arc<Slots>>) -> Result<Arc<Slots>, RedisError> {
        let _turn = self.refreshing.lock().await;
        if let Some(slots) =
            self.slots.load_full().filter(|slots| known.is_none_or(|known| !Arc::ptr_eq(slots, known)))
        {
            return Ok(slots);
        }
        let mut nodes: Vec<String> = {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.keys().cloned().collect()
        };
        nodes.extend(self.seeds.iter().cloned());
        let mut failure = None;
        for node in nodes {
            match timeout(ASK_FOR_SLOTS, self.ask_for_slots(&node)).await {
                Ok(Ok(slots)) => {
                    let slots = Arc::new(slots);
                    self.slots.store(Some(Arc::clone(&slots)));
                    return Ok(slots);
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into()))
    }

    async fn ask_for_slots(&self, node: &str) -> Result<Slots, RedisError> {
        let no_slots =
            || RedisError::from((redis::ErrorKind::UnexpectedReturnType, "not the slots of a cluster"));
        let link = self.link(node).ok_or_else(no_slots)?;
        let live = link.live().await?;
        let answer = live.send(redis::cmd("CLUSTER").arg("SLOTS")).await.and_then(Value::extract_error);
        let answer = answer.inspect_err(|_| live.give_up())?;
        let asked = node.rsplit_once(':').map_or(node, |(host, _)| host);
        let mut slots = Slots(Vec::new());
        for range in values(answer).ok_or_else(no_slots)? {
            let (last, node) = master(range, asked).ok_or_else(no_slots)?;
            slots.0.push((last, self.link(&node).ok_or_else(no_slots)?));
        }
        slots.0.sort_unstable_by_key(|(last, _)| *last);
        if slots.0.is_empty() { Err(no_slots()) } else { Ok(slots) }
    }
}

/// The last slot and the master of `[first slot, last slot, [host, port, …], …]`. A node without a
/// known name is the one that answered.
fn master(range: Value, asked: &str) -> Option<(u16, String)> {
    let mut range = values(range)?.into_iter().skip(1);
    let Value::Int(last) = range.next()? else { return None };
    let mut node = values(range.next()?)?.into_iter();
    let host = match node.next()? {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => String::from_utf8(host).ok()?,
        _ => asked.to_owned(),
    };
    let Value::Int(port) = node.next()? else { return None };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    Some((last.try_into().ok()?, format!("{host}:{port}")))
}

fn values(answer: Value) -> Option<Vec<Value>> {
    if let Value::Array(values) = answer { Some(values) } else { None }
}

impl Slots {
    /// The master of a command's key. For a slot that no node serves it is the next node, which
    /// reports the error.
    pub(super) fn node(&self, command: &Cmd) -> Arc<Link> {
        let slot = slot(key(command).unwrap_or_default());
        let at = self.0.partition_point(|(last, _)| *last < slot).min(self.0.len() - 1);
        Arc::clone(&self.0[at].1)
    }
}

/// The first key of a command, or an arbitrary argument without one.
fn key(command: &Cmd) -> Option<&[u8]> {
    let mut arguments = command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    });
    match arguments.next()? {
        b"EVAL" | b"EVALSHA" => arguments.nth(2),
        _ => arguments.next(),
    }
}

/// The slot of a key: by the content of its first braces, if any (Redis Cluster specification,
/// "Hash tags").
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let tag = &key[open + 1..];
        let close = tag.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &tag[..close])
    });
    crc16(tag.unwrap_or(key)) % 16384
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let (mut table, mut byte) = ([0; 256], 0_u16);
        while byte < 256 {
            let (mut crc, mut bit) = (byte << 8, 0);
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
                bit += 1;
            }
            table[byte as usize] = crc;
            byte += 1;
        }
        table
    };
    bytes.iter().fold(0_u16, |crc, byte| {
        let [high, _] = crc.to_be_bytes();
        crc << 8 ^ TABLE[usize::from(high ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_is_that_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, same) in
            [("{user1000}.following", "user1000"), ("foo{{bar}}zap", "{bar"), ("foo{bar}{zap}", "bar")]
        {
            assert_eq!(slot(key.as_bytes()), slot(same.as_bytes()), "{key}");
        }
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo"), 12182);
    }
}

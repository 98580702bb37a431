//! Calls at the same time.

use std::{future::poll_fn, panic::resume_unwind, sync::Barrier, task::Poll, thread};

use super::bench::Bench;
use crate::{SessionStore, store::Answer};

impl<S: SessionStore> Bench<S> {
    /// Runs futures at the same time: on threads for a store in this process, else as one task. In
    /// their order.
    pub(super) async fn together<T: Send, F: Future<Output = T> + Send>(
        &self,
        futures: impl IntoIterator<Item = F>,
    ) -> Vec<T> {
        let futures: Vec<F> = futures.into_iter().collect();
        if S::IN_PROCESS { self.on_threads(futures) } else { join_all(futures).await }
    }

    fn on_threads<T: Send, F: Future<Output = T> + Send>(&self, futures: Vec<F>) -> Vec<T> {
        const THREADS: usize = 4;
        let mut shares: [Vec<(usize, F)>; THREADS] = std::array::from_fn(|_| Vec::new());
        for (index, future) in futures.into_iter().enumerate() {
            shares[index % THREADS].push((index, future));
        }
        let at_once = |(index, future)| {
            let broken = || self.fail("a store with IN_PROCESS did not answer at the first poll");
            (index, Answer::at_once(|| future).unwrap_or_else(broken))
        };
        let barrier = &Barrier::new(THREADS);
        let mut done: Vec<(usize, T)> = thread::scope(|scope| {
            let threads = shares.map(|share| {
                scope.spawn(move || {
                    barrier.wait();
                    share.into_iter().map(at_once).collect::<Vec<_>>()
                })
            });
            let done = threads.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            done.into_iter().flatten().collect()
        });
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, output)| output).collect()
    }
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(move |cx| {
        let mut all = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => all = false,
                }
            }
        }
        if all {
            Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}

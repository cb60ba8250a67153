//! Completions that other rings post to this one: whom each is for.
//!
//! Knows: places by number and generation. Does not know: what is posted, or why.
//!
//! `user_data` of such a completion:
//!
//! ```text
//!   63            32 31             16 15             3 2    0
//!  ┌────────────────┬─────────────────┬────────────────┬──────┐
//!  │   generation   │     detail      │     place      │ kind │
//!  └────────────────┴─────────────────┴────────────────┴──────┘
//! ```
//!
//! A completion for a place whose tenant is gone, or another, is for nobody.

use std::cell::RefCell;
use std::sync::Arc;

use super::Inflight;
use super::node::{KIND_BITS, Kind};

/// Whoever other rings post to. Called on the runtime's thread, with nothing of it borrowed.
pub(crate) trait Post: Send + Sync {
    /// A completion was posted with this detail.
    fn posted(&self, detail: u16);

    /// The runtime has come to its end: nothing will be posted any more.
    fn runtime_gone(&self);
}

/// A place that completions can be posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PostKey {
    place: u16,
    generation: u32,
}

/// How many places there can be: what `user_data` has bits for.
const MAX_PLACES: usize = 1 << (16 - KIND_BITS);

impl PostKey {
    /// What a completion for this place carries.
    pub(crate) fn user_data(self, detail: u16) -> u64 {
        u64::from(self.generation) << 32
            | u64::from(detail) << 16
            | u64::from(self.place) << KIND_BITS
            | Kind::Posted as u64
    }

    fn from_user_data(user_data: u64) -> (Self, u16) {
        let place = (user_data as u16) >> KIND_BITS;
        (Self { place, generation: (user_data >> 32) as u32 }, (user_data >> 16) as u16)
    }
}

/// All places of one runtime.
#[derive(Default)]
pub(super) struct Posts {
    places: RefCell<Vec<Place>>,
}

#[derive(Default)]
struct Place {
    generation: u32,
    tenant: Option<Arc<dyn Post>>,
}

impl Posts {
    fn add(&self, tenant: Arc<dyn Post>) -> Option<PostKey> {
        let mut places = self.places.borrow_mut();
        let free = places.iter().position(|place| place.tenant.is_none());
        let at = match free {
            Some(at) => at,
            None if places.len() < MAX_PLACES => {
                places.push(Place::default());
                places.len() - 1
            }
            None => return None,
        };
        places[at].tenant = Some(tenant);
        Some(PostKey { place: at as u16, generation: places[at].generation })
    }

    fn remove(&self, key: PostKey) -> Option<Arc<dyn Post>> {
        let mut places = self.places.borrow_mut();
        let place =
            places.get_mut(usize::from(key.place)).filter(|place| place.generation == key.generation)?;
        place.generation = place.generation.wrapping_add(1);
        place.tenant.take()
    }

    fn find(&self, key: PostKey) -> Option<Arc<dyn Post>> {
        let places = self.places.borrow();
        let place = places.get(usize::from(key.place)).filter(|place| place.generation == key.generation)?;
        place.tenant.clone()
    }
}

impl Drop for Posts {
    fn drop(&mut self) {
        for place in std::mem::take(self.places.get_mut()) {
            if let Some(tenant) = place.tenant {
                tenant.runtime_gone();
            }
        }
    }
}

impl Inflight {
    /// A place for completions from other rings; `None` if there are too many.
    pub(crate) fn add_post(&self, tenant: Arc<dyn Post>) -> Option<PostKey> {
        self.posts.add(tenant)
    }

    /// Nobody is there any more for what is posted to this place.
    pub(crate) fn remove_post(&self, key: PostKey) {
        drop(self.posts.remove(key)); // with nothing borrowed
    }

    /// Another ring has posted.
    #[cold]
    pub(super) fn posted(&self, user_data: u64) {
        let (key, detail) = PostKey::from_user_data(user_data);
        if let Some(tenant) = self.posts.find(key) {
            self.contained(|| tenant.posted(detail));
        }
    }
}

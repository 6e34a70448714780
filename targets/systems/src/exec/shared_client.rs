//! One client of a program that serves all clients of its host.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::client::{
    HELLO_WITHIN, Unanswered, WARM_UPS, before_anything, hopeless, invocation, not_opened, opening, outcome,
    unanswered,
};
use super::program::Launch;
use super::shared::{Session, SharedPrograms};
use super::spoken::Spoken;
use crate::client::{Client, Seat};
use crate::outcome::{Cause, Outcome};

/// A client whose program serves others too.
pub(crate) struct SharedClient {
    seat: Seat,
    launch: Arc<Launch>,
    programs: SharedPrograms,
    session: Option<Session>,
}

impl SharedClient {
    /// Returns a client in `seat`, which joins the program of its host, or starts it, when it has to.
    pub(crate) fn new(seat: Seat, launch: Arc<Launch>, programs: SharedPrograms) -> Self {
        Self { seat, launch, programs, session: None }
    }

    fn join(&self) -> Result<Session, Unanswered> {
        self.programs.session(&self.launch, &self.seat).map_err(Unanswered::Silent)
    }

    /// Joins a program that has said hello.
    async fn begin(&mut self) -> Result<(), Unanswered> {
        let session = self.join()?;
        session.greet(Instant::now() + HELLO_WITHIN).await?;
        self.session = Some(session);
        Ok(())
    }

    async fn request<A: Spoken>(&mut self, action: &A) -> Result<Outcome<A>, Unanswered> {
        let deadline = Instant::now() + self.seat.timeout;
        // Taken out, so that an operation that ends early, however it ends, closes this client.
        let mut session = match self.session.take().filter(|session| !session.ended()) {
            Some(session) => session,
            None => self.join()?,
        };
        session.greet(deadline).await?;
        if !session.opened {
            let opened = session.ask(opening::<A>(&self.seat, &self.launch), deadline).await;
            if let Some(failure) = not_opened(&opened.map_err(before_anything)?.0) {
                self.session = Some(session);
                return Ok(failure);
            }
            session.opened = true;
        }
        let (answer, line) = session.ask(invocation(action), deadline).await?;
        let outcome = outcome(action, &answer, &line).inspect_err(|violation| session.refute(violation))?;
        self.session = Some(session);
        Ok(outcome)
    }
}

#[async_trait]
impl<A: Spoken> Client<A> for SharedClient {
    async fn invoke(&mut self, action: &A) -> Outcome<A> {
        self.request(action).await.unwrap_or_else(|failure| unanswered(action, failure))
    }

    async fn warm_up(&mut self) -> Result<(), Cause> {
        let mut attempts = WARM_UPS;
        loop {
            attempts -= 1;
            match self.begin().await.or_else(hopeless) {
                Err(_) if attempts > 0 => {}
                ended => return ended,
            }
        }
    }
}

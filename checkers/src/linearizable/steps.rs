//! The changes of a choice, and the walk to the next one.

use super::call::{Duty, Effect, State};
use super::choices::Choice;
use super::search::{Phase, Search};
use super::walk::{Event, Placed};

impl Search<'_> {
    /// Opens the slot of call `number`.
    pub(super) fn place(&mut self, number: u32) {
        let call = &self.walk.calls[number as usize];
        let slot = call.slot as usize;
        self.occupant[slot] = number;
        set(&mut self.open, slot);
        match call.effect {
            Effect::Read(_) => set(&mut self.reads, slot),
            Effect::Write(_) => set(&mut self.writes, slot),
            Effect::Cas(..) => {}
        }
    }

    /// Clears the slot of call `number`.
    pub(super) fn leave(&mut self, number: u32) {
        let slot = self.walk.calls[number as usize].slot as usize;
        for bits in [&mut self.open, &mut self.reads, &mut self.writes, &mut self.done, &mut self.free] {
            clear(bits, slot);
        }
    }

    /// Changes the register as `choice` says.
    pub(super) fn take(&mut self, choice: Choice) {
        match choice {
            Choice::Take(number) => match self.walk.calls[number as usize].effect {
                Effect::Write(value) => {
                    set(&mut self.done, self.walk.calls[number as usize].slot as usize);
                    self.overwrite(value);
                }
                effect => {
                    self.linearize(number);
                    self.go_on(effect.produced());
                }
            },
            Choice::Crashed(group) => {
                self.use_up(group);
                match self.groups[group as usize].effect {
                    Effect::Write(value) => self.overwrite(value),
                    effect => self.go_on(effect.produced()),
                }
            }
            Choice::Insert(number) => {
                let call = &self.walk.calls[number as usize];
                set(&mut self.done, call.slot as usize);
                self.phase = Phase::Past(self.state);
                self.state = call.effect.produced().unwrap_or(self.state);
            }
            Choice::InsertCrashed(group) => {
                self.use_up(group);
                self.phase = Phase::Past(self.state);
                self.state = self.groups[group as usize].effect.produced().unwrap_or(self.state);
            }
            Choice::Return => {
                if let Phase::Past(state) = self.phase {
                    self.state = state;
                }
                self.phase = Phase::Waiting;
            }
            Choice::Skip(number) => {
                let call = &self.walk.calls[number as usize];
                match call.effect {
                    Effect::Write(value) => self.expire(number, value),
                    // From here on it counts as taken: it observes nothing any more.
                    Effect::Cas(..) | Effect::Read(_) => {
                        let touched = self.touched;
                        self.linearize(number);
                        self.touched = touched;
                        self.left_out.push(number);
                    }
                }
            }
        }
    }

    fn use_up(&mut self, group: u32) {
        self.used[group as usize] += 1;
        self.used_trail.push(group);
    }

    /// A write of `value` takes effect; operations that owed their effect took it just before, or may have.
    fn overwrite(&mut self, value: State) {
        for (free, writes) in self.free.iter_mut().zip(&self.writes) {
            *free |= writes;
        }
        self.overwritten.push((self.at as u32, self.state));
        (self.past, self.state, self.phase) = (self.at as u32, value, Phase::Leading);
        self.touched = self.past;
    }

    /// A compare-and-set takes effect that leaves `value`.
    fn go_on(&mut self, value: Option<State>) {
        self.state = value.unwrap_or(self.state);
        self.touched = self.at as u32;
        if self.phase == Phase::Waiting {
            self.phase = Phase::Moved;
        }
    }

    /// The free write `number` completes unused: in the past it may have left `value`, and what reads that then, does.
    fn expire(&mut self, number: u32, value: State) {
        set(&mut self.done, self.walk.calls[number as usize].slot as usize);
        if self.walk.calls[number as usize].invoke < self.past {
            self.read(value, self.past);
        }
    }

    /// Linearizes every open read of `value` that was invoked before the event `before`.
    fn read(&mut self, value: State, before: u32) {
        for word in 0..self.open.len() {
            let mut bits = self.reads[word] & !self.done[word];
            while bits != 0 {
                let number = self.occupant[word * 64 + bits.trailing_zeros() as usize];
                bits &= bits - 1;
                let Placed { effect, invoke, .. } = self.walk.calls[number as usize];
                if effect == Effect::Read(value) && invoke < before {
                    self.linearize(number);
                }
            }
        }
    }

    fn linearize(&mut self, number: u32) {
        let call = &self.walk.calls[number as usize];
        set(&mut self.done, call.slot as usize);
        self.touched = self.at as u32;
        if let Some(value) = call.effect.observed() {
            self.observers[value as usize] -= 1;
            self.trail.push(number);
        }
    }

    /// Takes what fits without a choice, and walks on to the next completion at which there is one to make.
    pub(super) fn settle(&mut self) {
        if let Phase::Past(_) = self.phase {
            self.read(self.state, self.past);
            return;
        }
        self.read(self.state, u32::MAX);
        for word in 0..self.open.len() {
            let mut bits = self.writes[word] & !self.free[word];
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if self.walk.calls[self.occupant[slot] as usize].effect == Effect::Write(self.state) {
                    set(&mut self.free, slot);
                }
            }
        }
        while self.at < self.walk.len() {
            match self.walk.event(self.at) {
                Event::Invoke(number) => {
                    self.place(number);
                    let call = &self.walk.calls[number as usize];
                    let fits = matches!(call.effect, Effect::Read(value) | Effect::Write(value) if value == self.state);
                    match call.effect {
                        Effect::Read(_) if fits => self.linearize(number),
                        Effect::Write(_) if fits || call.duty == Duty::Optional => {
                            set(&mut self.free, call.slot as usize);
                        }
                        _ => {}
                    }
                }
                Event::Return(number) => {
                    if !get(&self.done, self.walk.calls[number as usize].slot as usize)
                        && !self.passes(number)
                    {
                        return;
                    }
                    self.leave(number);
                    self.phase = Phase::Waiting;
                }
            }
            self.at += 1;
        }
    }

    /// Whether call `number`, which completes and is not linearized, needs no choice; then it is dealt with.
    fn passes(&mut self, number: u32) -> bool {
        let call = &self.walk.calls[number as usize];
        let Effect::Write(value) = call.effect else { return false };
        if self.phase != Phase::Waiting || !get(&self.free, call.slot as usize) {
            return false;
        }
        if value == self.state {
            if self.choices.can_go_on(self) {
                return false;
            }
            // It may take effect right now, changing only the owed effects.
            self.overwrite(value);
            return true;
        }
        if self.observers[value as usize] == 0 {
            self.expire(number, value);
            return true;
        }
        false
    }
}

pub(super) fn get(bits: &[u64], at: usize) -> bool {
    bits[at / 64] >> (at % 64) & 1 == 1
}

fn set(bits: &mut [u64], at: usize) {
    bits[at / 64] |= 1 << (at % 64);
}

fn clear(bits: &mut [u64], at: usize) {
    bits[at / 64] &= !(1 << (at % 64));
}

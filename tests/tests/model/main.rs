//! Real nodes beside a naive model of a federation, and in every order in which things can happen.

mod federation;
mod interleavings;

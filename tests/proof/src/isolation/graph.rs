//! Dependencies between transactions, and what their cycles are called.
//!
//! Cycles lie in strongly connected components. In each, the gravest anomalies are
//! named: those of writes, of writes and reads, of one rw edge, of several that don't
//! follow each other; only where there are none of them, those that snapshot isolation permits.

use std::collections::{BTreeSet, VecDeque};

use super::checker::{Anomaly, Kind};

/// Why a transaction comes after another, and the key that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    WriteWrite(u32),
    WriteRead(u32),
    ReadWrite(u32),
    /// What matches a range that was read comes or goes.
    Predicate(u32),
}

impl Edge {
    fn is_anti(self) -> bool {
        matches!(self, Self::ReadWrite(_) | Self::Predicate(_))
    }
}

/// The graph; an edge leads to the later transaction.
pub struct Graph {
    edges: Vec<Vec<(u32, Edge)>>,
}

type Component = BTreeSet<u32>;

impl Graph {
    pub fn new(count: usize) -> Self {
        Self {
            edges: vec![Vec::new(); count],
        }
    }

    pub fn add(&mut self, from: u32, to: u32, edge: Edge) {
        let edges = &mut self.edges[from as usize];
        if from != to && !edges.contains(&(to, edge)) {
            edges.push((to, edge));
        }
    }

    /// Names the cycles.
    pub fn cycles(&self, found: &mut Vec<Anomaly>) {
        for component in self.components() {
            let mut kinds = self.grave(&component);
            if kinds.is_empty() {
                kinds = self.permitted(&component);
            }
            let shown: Vec<u32> = component.iter().copied().take(8).collect();
            for kind in kinds {
                let what = format!("{} transactions: {shown:?}", component.len());
                found.push(Anomaly { kind, what });
            }
        }
    }

    /// Components of more than one transaction (Kosaraju, without recursion).
    fn components(&self) -> Vec<Component> {
        let count = self.edges.len();
        let mut finished = Vec::with_capacity(count);
        let mut is_seen = vec![false; count];
        for root in 0..count {
            let mut stack = vec![(root, 0)];
            if std::mem::replace(&mut is_seen[root], true) {
                continue;
            }
            while let Some((node, next)) = stack.pop() {
                let Some((to, _)) = self.edges[node].get(next) else {
                    finished.push(node);
                    continue;
                };
                stack.push((node, next + 1));
                if !std::mem::replace(&mut is_seen[*to as usize], true) {
                    stack.push((*to as usize, 0));
                }
            }
        }
        let mut backwards = vec![Vec::new(); count];
        for (from, edges) in self.edges.iter().enumerate() {
            for (to, _) in edges {
                backwards[*to as usize].push(from);
            }
        }
        let mut all = Vec::new();
        for root in finished.into_iter().rev() {
            let (mut component, mut stack) = (Component::new(), vec![root]);
            while let Some(node) = stack.pop() {
                if std::mem::replace(&mut is_seen[node], false) {
                    component.insert(node as u32);
                    stack.extend(&backwards[node]);
                }
            }
            if component.len() > 1 {
                all.push(component);
            }
        }
        all
    }

    fn within<'g>(
        &'g self,
        component: &'g Component,
    ) -> impl Iterator<Item = (u32, u32, Edge)> + 'g {
        component.iter().flat_map(move |from| {
            let edges = self.edges[*from as usize].iter();
            edges
                .filter(|(to, _)| component.contains(to))
                .map(move |(to, edge)| (*from, *to, *edge))
        })
    }

    /// Whether a path leads on from there whose edges all `may`, each told the one before.
    fn leads(
        &self,
        component: &Component,
        (from, by): (u32, Edge),
        to: u32,
        may: impl Fn(Edge, Edge) -> bool,
        ends: impl Fn(Edge) -> bool,
    ) -> bool {
        let mut waiting = VecDeque::from([(from, by)]);
        let mut is_seen = BTreeSet::new();
        while let Some((node, by)) = waiting.pop_front() {
            if node == to && ends(by) {
                return true;
            }
            for (next, edge) in &self.edges[node as usize] {
                if component.contains(next)
                    && may(by, *edge)
                    && is_seen.insert((*next, edge.is_anti()))
                {
                    waiting.push_back((*next, *edge));
                }
            }
        }
        false
    }

    fn grave(&self, component: &Component) -> BTreeSet<Kind> {
        let mut kinds = BTreeSet::new();
        for (from, to, edge) in self.within(component) {
            let plain = |_, next: Edge| !next.is_anti();
            let start = (to, edge);
            match edge {
                Edge::WriteWrite(_) => {
                    let write = |_, next| matches!(next, Edge::WriteWrite(_));
                    if self.leads(component, start, from, write, |_| true) {
                        kinds.insert(Kind::DirtyWrite);
                    }
                }
                Edge::WriteRead(_) => {
                    if self.leads(component, start, from, plain, |_| true) {
                        kinds.insert(Kind::CircularInformation);
                    }
                }
                Edge::ReadWrite(key)
                    if self.edges[to as usize].contains(&(from, Edge::WriteWrite(key))) =>
                {
                    kinds.insert(Kind::LostUpdate);
                }
                Edge::ReadWrite(_) | Edge::Predicate(_) => {
                    if self.leads(component, start, from, plain, |_| true) {
                        kinds.insert(Kind::GSingle);
                    }
                }
            }
        }
        if kinds.is_empty() {
            let apart = |by: Edge, next: Edge| !by.is_anti() || !next.is_anti();
            let is_forked = self.within(component).any(|(from, to, edge)| {
                edge.is_anti() && self.leads(component, (to, edge), from, apart, |by| !by.is_anti())
            });
            if is_forked {
                kinds.insert(Kind::LongFork);
            }
        }
        kinds
    }

    /// Without anything graver, every cycle has rw edges that follow each other.
    fn permitted(&self, component: &Component) -> BTreeSet<Kind> {
        let mut kinds = BTreeSet::new();
        let item = |_, next| !matches!(next, Edge::Predicate(_));
        for (from, to, edge) in self.within(component) {
            match edge {
                Edge::Predicate(_) => {
                    kinds.insert(Kind::Phantom);
                }
                Edge::ReadWrite(_)
                    if !kinds.contains(&Kind::WriteSkew)
                        && self.leads(component, (to, edge), from, item, |_| true) =>
                {
                    kinds.insert(Kind::WriteSkew);
                }
                _ => {}
            }
        }
        kinds
    }
}

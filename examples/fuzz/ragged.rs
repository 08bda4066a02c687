//! Target: rows of a ragged batch against the rows alone, of any method.

use tokenpress::Error;

use crate::generator::Generator;
use crate::support::adapters::Adapter;
use crate::support::cases::methods;
use crate::support::data;
use crate::support::ragged::{Rows, differing};

/// On the adapter if there is one, else on the reference.
pub(crate) fn check(g: &mut Generator, adapter: Option<&Adapter>) -> Result<(), String> {
    // A random partition is another one for each row.
    let methods: Vec<_> = methods::all().filter(|m| m.options != "random").collect();
    let method = methods[g.below(methods.len() as u32) as usize];
    let capacity = g.pick(&[4, 16, 24, 40, 64, 65, 96, 144]);
    let lengths: Vec<u32> = (0..1 + g.below(5))
        .map(|_| {
            let inside = g.below(capacity + 1);
            g.pick(&[inside, inside, capacity, 1, 0])
        })
        .collect();
    g.note((method.subject, method.options, capacity, &lengths));
    let values = if g.chance(0.2) { data::ties } else { data::normal };
    let rows = Rows { seed: g.next() >> 8, capacity, lengths: &lengths, values };
    let result = differing(method, &rows, |graph, inputs| match adapter {
        Some(adapter) => pollster::block_on(adapter.context.run(graph, inputs)),
        _ => graph.run_reference(inputs),
    });
    match result {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(what),
        // Some methods take only grids, frames or tokens of certain numbers.
        Err(Error::Device { message }) => Err(message),
        Err(_) => Ok(()),
    }
}

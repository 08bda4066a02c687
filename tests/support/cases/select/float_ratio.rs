use tokenpress::kernels::float_ratio;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case(what: &str, most: u32, n: Vec<u32>, m: Vec<u32>) -> Case {
    let mut graph = Graph::new();
    let rows = n.len() as u32;
    let [of_n, of_m] = ["n", "m"].map(|name| graph.input(name, [rows], Elem::U32));
    let ratio = float_ratio(&mut graph, of_n, of_m, most).expect("shapes agree");
    graph.output("product", ratio.product).expect("a name");
    graph.output("inverse", ratio.inverse).expect("a name");
    let inputs = [("n", n), ("m", m)].map(|(name, counts)| (name.to_owned(), HostTensor::u32([rows], counts)));
    Case { subject: "float_ratio", name: format!("{what}, {rows} rows"), heavy: false, graph, inputs: inputs.into() }
}

pub fn cases() -> Vec<Case> {
    let all = (0..400u32).flat_map(|m| (0..=m).map(move |n| (n, m)));
    let (n, m) = all.unzip();
    let mut cases = vec![case("every pair", 400, n, m), case("none", 5, vec![], vec![])];
    // Every number may be any other's part; of 1 / (n / m) those matter whose n divides m.
    const MOST: u32 = 1 << 26;
    let any = |seed: u64, below: u32| data::integers(seed, 20_000, below);
    let sized = |seed: u64| any(seed, MOST + 1).into_iter().zip(any(seed + 1, 27)).map(|(x, shift)| x >> shift);
    cases.push(case("any", MOST, sized(11).collect(), sized(13).collect()));
    let parts = sized(15).zip(sized(17)).map(|(n, t)| (n, (u64::from(n) * u64::from(t)).min(u64::from(MOST)) as u32));
    let (n, m) = parts.unzip();
    cases.push(case("multiples", MOST, n, m));
    let near = (0..27).flat_map(|k| {
        (0..27).flat_map(move |a| {
            (0..9u32).map(move |d| ((1u32 << k).wrapping_add(d % 3).wrapping_sub(1), (1u32 << a).wrapping_add(d / 3).wrapping_sub(1)))
        })
    });
    let (n, m) = near.unzip();
    cases.push(case("near powers of two", MOST, n, m));
    cases.push(case("more than there are", 9, vec![3, u32::MAX, 9, u32::MAX, 0], vec![u32::MAX, u32::MAX, 10, 4, u32::MAX]));
    cases
}

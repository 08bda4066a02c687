//! What building a graph refuses: typed errors in place of panics, aborts and wrong numbers.
#![allow(missing_docs, reason = "a test")]

use tokenpress::kernels::{add, scale};
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor};

/// An input of four numbers.
fn four(graph: &mut Graph, name: &str) -> Tensor {
    graph.input(name, [4], Elem::F32)
}

fn refuses(graph: &mut Graph, foreign: Tensor, who: &str) {
    let own = four(graph, "own");
    for (what, result) in [
        ("call", add(graph, own, foreign).map(drop)),
        ("call", add(graph, foreign, own).map(drop)),
        ("reshape", graph.reshape(foreign, [2, 2]).map(drop)),
        ("output", graph.output("o", foreign)),
    ] {
        assert!(matches!(result, Err(Error::ForeignTensor { .. })), "{who}: {what} gives {result:?}");
    }
    assert_eq!(graph.constant_value(foreign), None, "{who}");
}

fn takes(graph: &Graph, handle: Tensor, who: &str) {
    let mut graph = graph.clone();
    assert!(graph.reshape(handle, [2, 2]).is_ok(), "{who}: reshape");
    assert!(scale(&mut graph, handle, 2.0).is_ok(), "{who}: call");
    assert!(graph.output("o", handle).is_ok(), "{who}: output");
}

#[test]
fn a_handle_made_after_a_clone_is_foreign_to_the_other_graph() {
    let mut first = Graph::new();
    four(&mut first, "x");
    let mut second = first.clone();
    // Of equal indices: only their owners tell them apart.
    let of_second = four(&mut second, "y");
    let of_first = four(&mut first, "q");
    refuses(&mut first, of_second, "the original");
    refuses(&mut second, of_first, "the clone");
    let constant = second.constant(HostTensor::f32([4], vec![1.0; 4]));
    refuses(&mut first, constant, "the original, of a constant");
    let sum = add(&mut second, of_second, constant).expect("its own");
    refuses(&mut first, sum, "the original, of a sum");
}

#[test]
fn a_handle_made_before_a_clone_is_good_in_both_graphs() {
    let mut first = Graph::new();
    let (x, constant) = (four(&mut first, "x"), first.constant(HostTensor::f32([4], vec![1.0; 4])));
    let sum = add(&mut first, x, constant).expect("its own");
    let mut second = first.clone();
    let third = second.clone();
    for (graph, who) in [(&first, "the original"), (&second, "the clone"), (&third, "the clone's clone")] {
        for handle in [x, constant, sum] {
            takes(graph, handle, who);
        }
        assert!(graph.constant_value(constant).is_some(), "{who}");
    }
    // What both have already is one tensor still, under one handle.
    assert_eq!(second.constant(HostTensor::f32([4], vec![1.0; 4])), constant);
    assert_eq!(add(&mut second, x, constant), Ok(sum));
    let y = scale(&mut second, sum, 10.0).expect("its own");
    second.output("y", y).expect("its own");
    let out = second.run_reference(&[("x".to_owned(), HostTensor::f32([4], vec![1.0, 2.0, 3.0, 4.0]))].into()).expect("a run");
    assert_eq!(out["y"].floats(), [20.0, 30.0, 40.0, 50.0]);
}

#[test]
fn clones_of_clones_keep_every_generation_apart() {
    // Each graph makes a tensor before and after every fork: 0 -> 1 -> 2, and 0 -> 3 later.
    let mut graphs = vec![Graph::new()];
    let mut made: Vec<(usize, Vec<usize>, Tensor)> = Vec::new();
    let make = |graphs: &mut Vec<Graph>, at: usize, good_in: &[usize], made: &mut Vec<_>| {
        let handle = four(&mut graphs[at], &format!("i{}", made.len()));
        made.push((at, good_in.to_vec(), handle));
    };
    make(&mut graphs, 0, &[0, 1, 2, 3], &mut made);
    let next = graphs[0].clone();
    graphs.push(next);
    make(&mut graphs, 0, &[0, 3], &mut made);
    make(&mut graphs, 1, &[1, 2], &mut made);
    let next = graphs[1].clone();
    graphs.push(next);
    make(&mut graphs, 0, &[0, 3], &mut made);
    make(&mut graphs, 1, &[1], &mut made);
    make(&mut graphs, 2, &[2], &mut made);
    let next = graphs[0].clone();
    graphs.push(next);
    for at in 0..4 {
        make(&mut graphs, at, &[at], &mut made);
    }
    for (at, graph) in graphs.iter().enumerate() {
        for (maker, good_in, handle) in &made {
            let who = format!("graph {at}, of a handle of graph {maker}");
            if good_in.contains(&at) { takes(graph, *handle, &who) } else { refuses(&mut graph.clone(), *handle, &who) }
        }
    }
}

#[test]
fn a_handle_of_quite_another_graph_is_foreign_however_long_the_graph_is() {
    let mut other = Graph::new();
    let foreign = (0..3).map(|i| four(&mut other, &format!("i{i}"))).last().expect("three");
    let mut empty = Graph::new();
    assert!(matches!(empty.output("o", foreign), Err(Error::ForeignTensor { .. })));
    refuses(&mut empty, foreign, "an empty graph");
    refuses(&mut Graph::new().clone(), foreign, "a clone of an empty graph");
}

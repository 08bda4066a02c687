use tokenpress::*;
#[test]
fn copy() {
    for a in pollster::block_on(readback::Context::adapters(wgpu::Backends::all())) {
        let c = pollster::block_on(readback::Context::new(&a)).unwrap();
        let mut g = Graph::new();
        let x = g.input("x", [3, 37], Elem::F32);
        g.output("y", x).unwrap();
        let inputs = [("x".to_owned(), HostTensor::f32([3, 37], (0..111).map(|i| i as f32).collect()))].into();
        for placement in [verify::Placement::default(), verify::Placement { gap: 3, one_buffer: true }] {
            let r = pollster::block_on(verify::steps(&c, &c.gpu, &g, &inputs, placement)).unwrap();
            println!("{} {r:?}", c.describe());
            assert!(r.iter().all(|r| r.passed()));
        }
    }
}

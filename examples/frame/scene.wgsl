// Three balls on a chequered floor, a ray for each pixel; and what shows three textures side by side.

struct Corner {
  @builtin(position) position: vec4<f32>,
  @location(0) place: vec2<f32>,
}

// A triangle that covers the target.
@vertex
fn corner(@builtin(vertex_index) index: u32) -> Corner {
  let place = vec2(f32((index << 1u) & 2u), f32(index & 2u));
  return Corner(vec4(place * vec2(2.0, -2.0) + vec2(-1.0, 1.0), 0.0, 1.0), place);
}

const LIGHT = vec3(0.53, 0.75, -0.4);

// Distance along a ray to a ball; negative if it passes by.
fn ball(origin: vec3<f32>, ray: vec3<f32>, centre: vec3<f32>, radius: f32) -> f32 {
  let to = centre - origin;
  let along = dot(to, ray);
  let beside = dot(to, to) - along * along;
  return select(-1.0, along - sqrt(max(radius * radius - beside, 0.0)), beside < radius * radius);
}

@fragment
fn scene(corner: Corner) -> @location(0) vec4<f32> {
  let origin = vec3(0.0, 1.0, -4.0);
  let ray = normalize(vec3((corner.place.x - 0.5) * 3.2, (0.5 - corner.place.y) * 1.8 - 0.2, 2.0));
  var nearest = 1e9;
  var colour = mix(vec3(0.75, 0.85, 1.0), vec3(0.25, 0.45, 0.85), clamp(ray.y * 2.0, 0.0, 1.0));
  if ray.y < 0.0 {
    nearest = -origin.y / ray.y;
    let place = origin + nearest * ray;
    let dark = (i32(floor(place.x)) + i32(floor(place.z))) & 1;
    let floor_colour = select(vec3(0.8, 0.78, 0.7), vec3(0.25, 0.3, 0.28), dark == 1);
    colour = mix(floor_colour, vec3(0.75, 0.85, 1.0), clamp(nearest / 40.0, 0.0, 1.0));
    for (var i = 0; i < 3; i++) {
      let centre = vec3(f32(i) * 1.7 - 1.7, 0.7, 0.5 - 0.6 * f32(i & 1));
      if ball(place, normalize(LIGHT), centre, 0.7) > 0.0 { colour *= 0.5; }
    }
  }
  for (var i = 0; i < 3; i++) {
    let centre = vec3(f32(i) * 1.7 - 1.7, 0.7, 0.5 - 0.6 * f32(i & 1));
    let distance = ball(origin, ray, centre, 0.7);
    if distance > 0.0 && distance < nearest {
      nearest = distance;
      let normal = (origin + distance * ray - centre) / 0.7;
      let light = max(dot(normal, normalize(LIGHT)), 0.0);
      let shine = pow(max(dot(reflect(ray, normal), normalize(LIGHT)), 0.0), 40.0);
      var base = vec3(0.85, 0.2, 0.15);
      if i == 1 { base = vec3(0.9, 0.75, 0.2); }
      if i == 2 { base = vec3(0.2, 0.5, 0.3); }
      colour = base * (0.25 + 0.75 * light) + vec3(0.6 * shine);
    }
  }
  return vec4(clamp(colour, vec3(0.0), vec3(1.0)), 1.0);
}

@group(0) @binding(0) var before: texture_2d<f32>;
@group(0) @binding(1) var after: texture_2d<f32>;
@group(0) @binding(2) var heat: texture_2d<f32>;

@fragment
fn side_by_side(corner: Corner) -> @location(0) vec4<f32> {
  let size = textureDimensions(before);
  let place = vec2<u32>(corner.position.xy);
  let within = vec2(place.x % size.x, place.y);
  switch place.x / size.x {
    case 0u: { return textureLoad(before, within, 0); }
    case 1u: { return textureLoad(after, within, 0); }
    default: { return textureLoad(heat, within, 0); }
  }
}

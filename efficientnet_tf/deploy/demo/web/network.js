// The network, run by LiteRT.js in this page.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const WASM = new URL("litert/core/wasm/", document.baseURI).href;

// Returns a function from float32 [height * width * 3] to { probabilities, map },
// the former numbers where the network gives these,
// of which `map` is { values, height, width } with all classes of a place
// beside each other, or null; and how many threads compute.
export async function load(url, { height, width }) {
  const threads = await start();
  const model = await loadAndCompile(url, {
    accelerator: "wasm",
    cpuOptions: { numThreads: threads },
  });
  async function run(input) {
    const images = new Tensor(input, [1, height, width, 3]);
    const outputs = await model.run({ images });
    const { activation_map: map } = outputs;
    const values = outputs.probabilities ?? outputs.numbers;
    const found = {
      probabilities: values.toTypedArray().slice(),
      map: map ? readMap(map) : null,
    };
    images.delete();
    Object.values(outputs).forEach((output) => output.delete());
    return found;
  }
  await run(new Float32Array(height * width * 3)); // The first run is slower.
  return { run, threads };
}

// Returns the number of threads. They need headers of the server, and not every
// browser has what LiteRT's threads are built of.
async function start() {
  if (globalThis.crossOriginIsolated) {
    try {
      await loadLiteRt(WASM, { threads: true });
      return Math.max(1, Math.min(navigator.hardwareConcurrency || 1, 8));
    } catch (error) {
      console.warn(`Without threads: ${error.message}`);
    }
  }
  await loadLiteRt(WASM);
  return 1;
}

function readMap(tensor) {
  const [, height, width] = tensor.type.layout.dimensions;
  return { values: tensor.toTypedArray().slice(), height, width };
}

#include "worker/train/model_runner.h"

namespace cairn::worker {

Status PullStep(const Batch& batch, std::span<const std::uint32_t> table_dims,
                std::uint64_t dense_floats, bool with_dense, PullMode mode, std::uint64_t step,
                PsClient* servers, StepBuffers* buffers) {
  const std::size_t tables = table_dims.size();
  buffers->values.resize(tables);
  buffers->gradients.resize(tables);
  buffers->dense.resize(dense_floats);
  buffers->dense_gradients.resize(dense_floats);
  std::vector<TablePull> pulls;
  pulls.reserve(tables);
  for (std::size_t t = 0; t < tables; ++t) {
    const std::vector<std::uint64_t>& keys = batch.unique_keys[t];
    if (buffers->values[t].size() < keys.size() * table_dims[t]) {
      buffers->values[t].resize(keys.size() * table_dims[t]);
      buffers->gradients[t].resize(keys.size() * table_dims[t]);
    }
    pulls.push_back({static_cast<std::uint32_t>(t), keys, buffers->values[t].data()});
  }
  return servers->Pull(
      {mode, pulls, with_dense ? std::span<float>(buffers->dense) : std::span<float>(), step});
}

Status PullDense(PullMode mode, std::uint64_t step, PsClient* servers, StepBuffers* buffers) {
  return servers->Pull({mode, {}, buffers->dense, step});
}

Status PushStep(const Batch& batch, double learning_rate_scale, std::uint64_t step,
                PsClient* servers, const StepBuffers& buffers) {
  std::vector<TablePush> pushes;
  pushes.reserve(buffers.gradients.size());
  for (std::size_t t = 0; t < buffers.gradients.size(); ++t)
    pushes.push_back(
        {static_cast<std::uint32_t>(t), batch.unique_keys[t], buffers.gradients[t].data()});
  return servers->Push({pushes, buffers.dense_gradients, learning_rate_scale, step});
}

}  // namespace cairn::worker

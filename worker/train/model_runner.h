// A job's model, built and ready to run on the threads of one worker: the seam between training and
// worker/nn.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "worker/client/ps_client.h"
#include "worker/data/batch.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// What a step works on besides its batch. Vectors grow to what the largest batch needs and are
// reused.
struct StepBuffers {
  std::vector<std::vector<float>> values;     // [tables][unique keys * dim], pulled
  std::vector<std::vector<float>> gradients;  // [tables][unique keys * dim]
  std::vector<float> dense;                   // all dense parameters, pulled
  std::vector<float> dense_gradients;
};

struct StepLoss {
  double sum = 0;                    // over the rows of the batch
  std::int64_t non_finite_row = -1;  // the first row whose loss is not finite
};

// Thread-safety: one thread calls; the work inside is spread over `threads`.
class ModelRunner {
 public:
  // `job` is effective. InvalidArgument when the model does not fit the features, naming field and
  // value.
  static Result<std::unique_ptr<ModelRunner>> Make(const proto::JobConfig& job, int threads);
  virtual ~ModelRunner() = default;

  virtual const DenseLayout& Layout() const = 0;
  // Initial values of all dense parameters in layout order, a function of the job's seed.
  virtual std::vector<float> InitialDense() const = 0;
  // Width of each table's rows, in the order of the job's tables.
  virtual std::span<const std::uint32_t> TableDims() const = 0;

  // Forward, mean loss, backward: fills the gradients from the values. `step_seed` decides the
  // dropout masks.
  virtual StepLoss TrainStep(const Batch& batch, std::uint64_t step_seed, StepBuffers* buffers) = 0;
  // Forward as at evaluation. logits: [batch.rows].
  virtual void Score(const Batch& batch, StepBuffers* buffers, std::span<float> logits) = 0;
};

// Whether the job's model can be built from its features: what Make would say, without the memory
// of a graph. Densities that are not counted yet are taken as 0.
Status CheckModel(const proto::JobConfig& job);

// Pulls all rows of the batch into the buffers, and the dense parameters if `with_dense`. `step` as
// in PullRequest.
Status PullStep(const Batch& batch, std::span<const std::uint32_t> table_dims,
                std::uint64_t dense_floats, bool with_dense, PullMode mode, std::uint64_t step,
                PsClient* servers, StepBuffers* buffers);
// The dense parameters alone, behind PullStep.
Status PullDense(PullMode mode, std::uint64_t step, PsClient* servers, StepBuffers* buffers);
// Pushes the buffers' gradients.
Status PushStep(const Batch& batch, double learning_rate_scale, std::uint64_t step,
                PsClient* servers, const StepBuffers& buffers);

}  // namespace cairn::worker

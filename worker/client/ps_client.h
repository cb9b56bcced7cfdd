// The worker's view of all parameter servers together. Implementations: launch/local (the servers'
// cores in this process, no transport) and worker/client/grpc_ps_client.h (one stream to each
// server).
//
// A step is one Pull and one Push, each for all tables and the dense parameters at once; an
// implementation splits them by the slot map and talks to the servers in parallel.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::worker {

// Dense parameters are one flat vector of floats, tensor after tensor in the order of the layout.
// Servers hold them in chunks of kDenseChunkFloats (the last one of a tensor is shorter); chunk c
// of tensor t lives in the slot of DenseChunkKey(t, c).
inline constexpr std::uint64_t kDenseChunkFloats = 16384;

struct DenseTensor {
  std::string name;                 // unique, e.g. "layer1.high.mlp.0.weight"
  std::vector<std::uint32_t> dims;  // product = number of floats
  bool is_weight = false;           // takes part in dense.l2 (not: biases, normalisation)
  // Not trained: a running statistic s. Its "gradient" is this step's value v, and s += momentum *
  // (v - s).
  bool is_statistic = false;
  float momentum = 0.1f;
  std::uint64_t Floats() const {
    std::uint64_t n = 1;
    for (std::uint32_t d : dims) n *= d;
    return n;
  }
};
using DenseLayout = std::vector<DenseTensor>;

enum class PullMode {
  kTrain,  // a key without a row gives the row's initial value
  kScore,  // a key without a row gives zeros
};

// Keys of one table, each at most once, and the rows' values or gradients: [keys.size(), dim],
// row-major.
struct TablePull {
  std::uint32_t table = 0;  // index in the effective job's list of tables
  std::span<const std::uint64_t> keys;
  float* values = nullptr;  // out
};
struct TablePush {
  std::uint32_t table = 0;
  std::span<const std::uint64_t> keys;
  const float* gradients = nullptr;  // d(mean loss of the batch)/d(value), summed over the batch
};

struct PullRequest {
  PullMode mode = PullMode::kTrain;
  std::span<const TablePull> tables;
  std::span<float> dense;  // out: all dense parameters, or empty to leave them out
  std::uint64_t step = 0;  // of this client's training steps, from 1; 0: of none
};

struct PushRequest {
  std::span<const TablePush> tables;
  std::span<const float> dense;    // gradients of all dense parameters, or empty
  double learning_rate_scale = 1;  // of the schedule, multiplies every optimizer's rate
  std::uint64_t step = 0;          // as the pulls for it: tells how stale these were
};

// Thread-safety: Pull and Push may be called from different threads at once; pushes of one client
// are applied in the order of the calls. Spans are borrowed until the call returns. Errors:
// Unavailable or DeadlineExceeded with the server's index and address, after retries; Aborted when
// the server's job epoch moved on; InvalidArgument for a table or key count that the server does
// not accept.
class PsClient {
 public:
  virtual ~PsClient() = default;

  // Makes the dense tensors known and gives those that no server has yet their initial values.
  // Every worker calls it with equal arguments before its first Pull; repeating it changes nothing.
  // `initial` is in layout order.
  virtual Status RegisterDense(const DenseLayout& layout, std::span<const float> initial) = 0;

  virtual Status Pull(const PullRequest& request) = 0;

  // Returns once every server has acknowledged. A retried push is applied once.
  virtual Status Push(const PushRequest& request) = 0;

  // Ends calls that wait for a server, and all later ones, with Cancelled: whether their pushes
  // were applied is unknown. For the end of a worker. Nothing where no call waits for a peer.
  virtual void Cancel() {}
};

}  // namespace cairn::worker

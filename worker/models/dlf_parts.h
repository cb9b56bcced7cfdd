// The parts of a DLF layer: its streams of tokens and their fusion. docs/models/dlf.md has the
// equations; dlf.cc puts the parts together.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "worker/nn/graph.h"

namespace cairn::proto {
class DlfConfig;
}

namespace cairn::worker::dlf {

enum class Fusion { kJoin, kAttention, kSelfGate };
enum class Residual { kPlain, kFloorGate, kSigmoidGate, kNone };

// DlfConfig, with what the profile, the fusion and the fields decide filled in.
struct Options {
  Fusion fusion = Fusion::kJoin;
  Residual residual = Residual::kPlain;
  bool high_rank_block = true;
  bool low_rank_block = true;
  bool implicit_block = true;
  bool drawn = false;  // the blocks of the paper's figure, in place of the released code's
  std::uint32_t implicit_tokens = 0;
  std::uint32_t block_tokens = 0;
  std::uint32_t attention_tokens = 0;
  std::uint32_t rank = 0;
  std::uint32_t hidden = 0;
  int heads = 1;
  bool batch_norm = true;
  double dropout = 0;
};

// For a job with `fields` embeddings of width `dim`. InvalidArgument, naming the option, where
// options contradict each other or do not fit.
Result<Options> Resolve(const proto::DlfConfig& config, std::uint32_t fields, std::uint32_t dim);

// What one block of a layer hands to the fusion.
struct Stream {
  std::string name;   // "high", "low", "implicit", "attention"
  nn::Tensor tokens;  // [tokens, dim]
};

// The layer's streams, those that are not switched off, in the order of the names above.
// first: E^(1) [fields, dim]; e: E^(l) [N, dim].
Result<std::vector<Stream>> Streams(nn::GraphBuilder& graph, const std::string& prefix,
                                    const Options& options, const nn::Tensor& first,
                                    const nn::Tensor& e);

// Z^(l+1) [tokens of all streams, dim].
Result<nn::Tensor> Fuse(nn::GraphBuilder& graph, const std::string& prefix, const Options& options,
                        std::span<const Stream> streams);

}  // namespace cairn::worker::dlf

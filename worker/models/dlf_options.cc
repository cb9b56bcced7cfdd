// Which options of DlfConfig fit together.
#include "proto/config.pb.h"
#include "worker/models/dlf_parts.h"

namespace cairn::worker::dlf {
namespace {

using proto::DlfConfig;

Status Contradiction(std::string_view option, std::string_view problem) {
  return absl::InvalidArgumentError(StrCat("model.dlf.", option, ": ", problem));
}

// The drawn blocks have one rank and one number of tokens; an option may repeat it, no more.
Status FitsDrawing(const DlfConfig& config, std::uint32_t fields, std::uint32_t dim) {
  if (config.has_rank() && config.rank() != dim)
    return Contradiction("rank", StrCat(config.rank(), ", but with rli_output: DRAWN it is the ",
                                        "embedding width, ", dim));
  if (config.has_implicit_tokens() && config.implicit_tokens() != fields)
    return Contradiction("implicit_tokens",
                         StrCat(config.implicit_tokens(), ", but with rli_output: DRAWN it is the ",
                                "number of fields, ", fields));
  if (config.has_block_tokens() && config.block_tokens() != fields)
    return Contradiction("block_tokens",
                         StrCat(config.block_tokens(), ", but with rli_output: DRAWN it is the ",
                                "number of fields, ", fields));
  return OkStatus();
}

Fusion FusionOf(const DlfConfig& config) {
  switch (config.fusion()) {
    case DlfConfig::OF_PROFILE:
      return config.profile() == DlfConfig::P ? Fusion::kAttention : Fusion::kJoin;
    case DlfConfig::JOIN:
      return Fusion::kJoin;
    case DlfConfig::ATTENTION:
      return Fusion::kAttention;
    case DlfConfig::SELF_GATE:
      break;
  }
  return Fusion::kSelfGate;
}

Residual ResidualOf(const DlfConfig& config) {
  switch (config.residual()) {
    case DlfConfig::RESIDUAL_OF_PROFILE:
      return config.profile() == DlfConfig::P ? Residual::kFloorGate : Residual::kPlain;
    case DlfConfig::PLAIN:
      return Residual::kPlain;
    case DlfConfig::FLOOR_GATE:
      return Residual::kFloorGate;
    case DlfConfig::SIGMOID_GATE:
      return Residual::kSigmoidGate;
    case DlfConfig::NONE:
      break;
  }
  return Residual::kNone;
}

}  // namespace

Result<Options> Resolve(const DlfConfig& config, std::uint32_t fields, std::uint32_t dim) {
  Options options{.fusion = FusionOf(config),
                  .residual = ResidualOf(config),
                  .high_rank_block = config.high_rank_block(),
                  .low_rank_block = config.low_rank_block(),
                  .implicit_block = config.implicit_block(),
                  .drawn = config.rli_output() == DlfConfig::DRAWN,
                  .implicit_tokens = config.implicit_tokens(),
                  .block_tokens = config.block_tokens(),
                  .attention_tokens = config.attention_tokens(),
                  .rank = config.rank(),
                  .hidden = config.hidden(),
                  .heads = static_cast<int>(config.heads()),
                  .batch_norm = config.batch_norm(),
                  .dropout = config.dropout()};
  if (options.drawn) {
    RETURN_IF_ERROR(FitsDrawing(config, fields, dim));
    options.implicit_tokens = options.block_tokens = fields;
    options.rank = dim;
  }
  if (options.fusion == Fusion::kSelfGate) {
    if (config.has_low_rank_block() && config.low_rank_block())
      return Contradiction("low_rank_block", "true, but fusion: SELF_GATE has no low-rank block");
    options.low_rank_block = false;
  }
  if (!options.high_rank_block && !options.low_rank_block && !options.implicit_block &&
      options.attention_tokens == 0)
    return Contradiction("high_rank_block", "false, and so is every other block: none is left");
  const bool attends = options.fusion == Fusion::kAttention || options.attention_tokens > 0;
  if (attends && dim % config.heads() != 0)
    return Contradiction(
        "heads", StrCat(config.heads(), ", which does not divide the embedding width ", dim));
  return options;
}

}  // namespace cairn::worker::dlf

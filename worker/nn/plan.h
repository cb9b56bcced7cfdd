// The order of execution and the memory of a graph, the same for all batches.
//
// Ops are put in stages: a stage ends where a value of the whole batch is needed (BatchNorm).
// Within a stage an op runs as late as possible, beside its readers. The backward pass walks the
// stages in reverse; the last forward and the first backward stage are one.
//
// A tensor is *saved* (a place for the whole batch) if another stage reads it, or if a gradient
// reads it and it is dear to compute; otherwise it is *scratch* (a place for one block per thread)
// and is computed again in the backward pass where a gradient needs it. Gradients are scratch if
// they are written and read in one stage. Places are shared by tensors whose times of use do not
// overlap.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "worker/nn/op.h"

namespace cairn::worker::nn {

// Where a value or gradient lies. Offsets count values per row: a saved place of a graph with room
// for P panels begins at offset * P * 16, a scratch place of blocks of B panels at offset * B * 16.
struct Place {
  enum class Kind { kNone, kSaved, kScratch };
  Kind kind = Kind::kNone;
  std::size_t offset = 0;
  std::size_t size = 0;  // values per row
};

struct PlanStep {
  enum class Action { kForward, kReduce, kLoss, kReduceGradient, kBackward };
  Action action = Action::kForward;
  int op = -1;  // -1: kLoss, whose in[0] is the logit and in_gradient[0] its gradient
  std::vector<Place> in;
  Place out;
  Place out_gradient;
  std::vector<Place> in_gradient;
  std::vector<char> accumulate;  // per input
};

struct PlanStage {
  std::vector<PlanStep> steps;
  std::vector<int> combine;           // ops whose reductions are complete after this stage
  std::vector<int> combine_gradient;  // and those of their gradients
};

struct Plan {
  std::vector<PlanStage> train;
  std::vector<PlanStage> score;
  std::vector<std::pair<int, Place>> finish;  // ops that finish gradients, and their out_gradient
  std::size_t saved_size = 0;                 // values per row
  std::size_t scratch_size = 0;               // values per row, of one thread
};

// `logit` is a tensor of size 1. Ops that the logit does not depend on are left out.
Plan MakePlan(const std::vector<OpDef>& ops, const Tensor& logit);

}  // namespace cairn::worker::nn

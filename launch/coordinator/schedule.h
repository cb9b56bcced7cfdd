// When the learning rate falls, which epoch is the best, and when training ends: the frame that
// FuxiCTR and BARS use (reference: FuxiCTR, `fuxictr/pytorch/models/rank_model.py`).
//
// After each epoch the monitored value is measured. Better than the best so far by more than
// min_delta: the epoch is the best. Otherwise every learning rate becomes
// max(rate * plateau_factor, configured rate * plateau_floor). Training ends after
// early_stop_patience epochs in a row without a better one, or after `epochs`.
#pragma once

#include "common/base/status.h"

namespace cairn::proto {
class Metrics;
class TrainConfig;
class TrainState;
}  // namespace cairn::proto

namespace cairn::launch {

// The monitored value of an evaluation, in its own sign: the log loss is better when smaller. An
// undefined AUC (all rows have one label) counts as 0.5, what a guess has.
double MonitoredValue(const proto::TrainConfig& config, const proto::Metrics& metrics);

// Enters the evaluation of the epoch just trained: best_value, best_epoch, learning_rate_scale,
// epochs_without_gain. `metrics` null: nothing to evaluate on, so that the latest epoch is the
// best. True if the epoch is the best.
bool ApplySchedule(const proto::TrainConfig& config, const proto::Metrics* metrics,
                   proto::TrainState* state);

// Whether no further epoch is to be trained.
bool TrainingIsOver(const proto::TrainConfig& config, const proto::TrainState& state);

}  // namespace cairn::launch

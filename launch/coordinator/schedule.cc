#include "launch/coordinator/schedule.h"

#include <algorithm>

#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::launch {

double MonitoredValue(const proto::TrainConfig& config, const proto::Metrics& metrics) {
  const double auc = metrics.has_auc() ? metrics.auc() : 0.5;
  const double gauc = metrics.has_gauc() ? metrics.gauc() : 0.5;
  switch (config.monitor()) {
    case proto::TrainConfig::LOGLOSS:
      return metrics.logloss();
    case proto::TrainConfig::AUC_MINUS_LOGLOSS:
      return auc - metrics.logloss();
    case proto::TrainConfig::GAUC:
      return gauc;
    case proto::TrainConfig::GAUC_PLUS_AUC:
      return gauc + auc;
    case proto::TrainConfig::AUC:
      break;
  }
  return auc;
}

bool ApplySchedule(const proto::TrainConfig& config, const proto::Metrics* metrics,
                   proto::TrainState* state) {
  bool is_best = true;
  if (metrics != nullptr) {
    const double value = MonitoredValue(config, *metrics);
    const double sign = config.monitor() == proto::TrainConfig::LOGLOSS ? -1 : 1;
    is_best = !state->has_best_value() || sign * (value - state->best_value()) > config.min_delta();
    if (is_best) state->set_best_value(value);
  }
  if (is_best) {
    state->set_best_epoch(state->epoch());
    state->set_epochs_without_gain(0);
    return true;
  }
  state->set_learning_rate_scale(
      std::max(state->learning_rate_scale() * config.plateau_factor(), config.plateau_floor()));
  state->set_epochs_without_gain(state->epochs_without_gain() + 1);
  return false;
}

bool TrainingIsOver(const proto::TrainConfig& config, const proto::TrainState& state) {
  const std::uint32_t patience = config.early_stop_patience();
  return state.epoch() >= config.epochs() ||
         (patience > 0 && state.epochs_without_gain() >= patience);
}

}  // namespace cairn::launch

#include "launch/supervise/job_status.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "launch/coordinator/checkpoints.h"
#include "launch/supervise/cluster_lock.h"
#include "launch/supervise/process.h"
#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"
#include "proto/checkpoint.pb.h"
#include "proto/control.grpc.pb.h"
#include "proto/ps_service.pb.h"

namespace cairn::launch {
namespace {

Status AskCoordinator(const std::string& address, std::chrono::milliseconds limit,
                      proto::JobStatusReply* reply) {
  const auto stub =
      proto::Control::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + limit);
  const grpc::Status answer = stub->GetJobStatus(&context, proto::JobStatusRequest(), reply);
  if (answer.ok()) return OkStatus();
  return absl::UnavailableError(
      StrCat("the coordinator at ", address, " does not answer: ", answer.error_message()));
}

const proto::TrainState* Training(const ClusterStatus& status) {
  if (status.live != nullptr && status.live->has_state()) return &status.live->state();
  return status.last.get();
}

const proto::ProcessStatus* Live(const ClusterStatus& status, const ProcessState& process) {
  if (status.live == nullptr) return nullptr;
  for (const proto::ProcessStatus& live : status.live->process()) {
    if (live.role() == process.role && static_cast<int>(live.index()) == process.index) {
      return &live;
    }
  }
  return nullptr;
}

// "-" for what was not measured.
std::string Metric(bool is_set, double value) { return is_set ? Fixed(value, 5) : "-"; }

std::string HistoryTable(const proto::TrainState& state) {
  Table table({{"epoch", true},
               {"train loss", true},
               {"auc", true},
               {"logloss", true},
               {"learning rate x", true},
               {"seconds", true}});
  for (const proto::EpochRecord& epoch : state.history()) {
    table.AddRow({StrCat(epoch.epoch() + 1), Metric(epoch.has_train_loss(), epoch.train_loss()),
                  Metric(epoch.valid().has_auc(), epoch.valid().auc()),
                  Metric(epoch.valid().has_logloss(), epoch.valid().logloss()),
                  StrCat(epoch.learning_rate_scale()), Fixed(epoch.seconds(), 1)});
  }
  return table.Aligned("  ");
}

std::string ProcessTable(const ClusterStatus& status) {
  Table table({{"process"}, {"pid", true}, {"rows", true}, {"silent", true}, {"state"}, {"log"}});
  for (const ProcessState& process : status.cluster.process) {
    const proto::ProcessStatus* live = Live(status, process);
    std::string state = process.ended;
    if (state.empty()) {
      state = IsAlive(process.pid, process.start_ticks) ? "running" : "gone";
    }
    table.AddRow({ProcessName(process.role, process.index), StrCat(process.pid),
                  live != nullptr && live->rows() > 0 ? HumanCount(live->rows()) : "-",
                  live != nullptr ? HumanSeconds(live->silent_s()) : "-", state, process.log});
  }
  return table.Aligned("  ");
}

// "running: training" or "done, exit code 0, 2026-03-01 09:30:00".
std::string StateWords(const ClusterStatus& status) {
  const ClusterState& cluster = status.cluster;
  if (status.is_running) {
    if (status.live == nullptr) return cluster.state;
    return StrCat(cluster.state, ": ", status.live->phase());
  }
  if (cluster.ended_unix_s == 0) return StrCat("killed while ", cluster.state);
  return StrCat(cluster.state, " with exit code ", cluster.exit_code, " at ",
                LocalTime(cluster.ended_unix_s));
}

void WriteMetrics(const proto::Metrics& metrics, JsonWriter& json) {
  json.BeginObject();
  json.Key("rows").Uint(metrics.rows());
  if (metrics.has_auc()) json.Key("auc").Double(metrics.auc());
  if (metrics.has_logloss()) json.Key("logloss").Double(metrics.logloss());
  if (metrics.has_gauc()) json.Key("gauc").Double(metrics.gauc());
  if (metrics.has_pairwise()) json.Key("pairwise").Double(metrics.pairwise());
  json.EndObject();
}

void WriteTraining(const proto::TrainState& state, JsonWriter& json) {
  json.Key("epoch").Uint(state.epoch());
  json.Key("steps").Uint(state.steps());
  json.Key("rows").Uint(state.rows());
  json.Key("bad_rows").Uint(state.bad_rows());
  json.Key("finished").Bool(state.finished());
  json.Key("train_seconds").Double(state.train_seconds());
  json.Key("history").BeginArray();
  for (const proto::EpochRecord& epoch : state.history()) {
    json.BeginObject();
    json.Key("epoch").Uint(epoch.epoch());
    json.Key("train_loss").Double(epoch.train_loss());
    json.Key("learning_rate_scale").Double(epoch.learning_rate_scale());
    json.Key("seconds").Double(epoch.seconds());
    json.Key("valid");
    WriteMetrics(epoch.valid(), json);
    json.EndObject();
  }
  json.EndArray();
  if (state.has_test()) {
    json.Key("test");
    WriteMetrics(state.test(), json);
  }
}

void WriteProcess(const ClusterStatus& status, const ProcessState& process, JsonWriter& json) {
  json.BeginObject();
  json.Key("role").String(process.role);
  json.Key("index").Int(process.index);
  json.Key("pid").Int(process.pid);
  json.Key("running").Bool(process.ended.empty() && IsAlive(process.pid, process.start_ticks));
  json.Key("ended").String(process.ended);
  json.Key("log").String(process.log);
  if (const proto::ProcessStatus* live = Live(status, process); live != nullptr) {
    json.Key("address").String(live->address());
    json.Key("silent_s").Double(live->silent_s());
    json.Key("rows").Uint(live->rows());
  }
  json.EndObject();
}

}  // namespace

ClusterStatus::ClusterStatus() = default;
ClusterStatus::~ClusterStatus() = default;
ClusterStatus::ClusterStatus(ClusterStatus&&) noexcept = default;
ClusterStatus& ClusterStatus::operator=(ClusterStatus&&) noexcept = default;

Result<ClusterStatus> GetClusterStatus(const std::string& run_dir,
                                       std::chrono::milliseconds limit) {
  ClusterStatus status;
  ASSIGN_OR_RETURN(const auto holder, ClusterLock::Holder(run_dir));
  status.is_running = holder.has_value();
  ASSIGN_OR_RETURN(status.cluster, ReadClusterState(run_dir), "no cluster ran in ", run_dir);
  if (status.is_running && !status.cluster.coordinator.empty()) {
    auto live = std::make_unique<proto::JobStatusReply>();
    const Status answer = AskCoordinator(status.cluster.coordinator, limit, live.get());
    if (answer.ok()) {
      status.latest_checkpoint = live->latest_checkpoint();
      status.servers = AskServers(*live, limit);
      status.live = std::move(live);
      return status;
    }
    status.no_answer = std::string(answer.message());
  }
  const Result<std::string> checkpoint = ResolveCheckpoint(run_dir);
  proto::CheckpointManifest manifest;
  if (checkpoint.ok() && ReadManifest(*checkpoint, &manifest).ok()) {
    status.latest_checkpoint = *checkpoint;
    status.last = std::make_unique<proto::TrainState>(manifest.state());
  }
  return status;
}

std::string ClusterStatusText(const ClusterStatus& status) {
  const ClusterState& cluster = status.cluster;
  std::string text =
      StrCat("run         ", cluster.run_dir, "\njob         ", cluster.job, " (", cluster.job_file,
             ")\nstate       ", StateWords(status), "\nstarted     ",
             LocalTime(cluster.started_unix_s), " on ", cluster.host, "\n");
  if (!status.no_answer.empty()) StrAppend(text, "warning     ", status.no_answer, "\n");
  const proto::TrainState* training = Training(status);
  if (training != nullptr) {
    StrAppend(text, "progress    epoch ", training->epoch() + (training->finished() ? 0 : 1), ", ",
              HumanCount(training->steps()), " steps, ", HumanCount(training->rows()), " rows");
    if (training->reissued_rows() > 0) {
      StrAppend(text, ", at most ", HumanCount(training->reissued_rows()), " of them twice");
    }
    if (status.live != nullptr && status.live->rows_per_s() > 0) {
      StrAppend(text, ", ", HumanCount(static_cast<std::uint64_t>(status.live->rows_per_s())),
                " rows/s");
    }
    text += '\n';
  }
  text += ServerLines(status.servers);
  StrAppend(text, "checkpoint  ",
            status.latest_checkpoint.empty() ? "none yet" : status.latest_checkpoint, "\n");
  if (!cluster.failure.empty()) StrAppend(text, "failure     ", cluster.failure, "\n");
  if (!cluster.result.empty()) StrAppend(text, "result      ", cluster.result, "\n");
  if (training != nullptr && training->history_size() > 0) {
    StrAppend(text, "\n", HistoryTable(*training));
  }
  return StrCat(text, ServerTable(status.servers), "\n", ProcessTable(status));
}

std::string ClusterStatusJson(const ClusterStatus& status) {
  const ClusterState& cluster = status.cluster;
  JsonWriter json;
  json.BeginObject();
  json.Key("run_dir").String(cluster.run_dir);
  json.Key("job").String(cluster.job);
  json.Key("job_file").String(cluster.job_file);
  json.Key("running").Bool(status.is_running);
  json.Key("state").String(cluster.state);
  if (status.live != nullptr) {
    json.Key("phase").String(status.live->phase());
    json.Key("rows_per_s").Double(status.live->rows_per_s());
  }
  if (!status.no_answer.empty()) json.Key("warning").String(status.no_answer);
  json.Key("started_unix_s").Int(cluster.started_unix_s);
  json.Key("ended_unix_s").Int(cluster.ended_unix_s);
  json.Key("exit_code").Int(cluster.exit_code);
  json.Key("failure").String(cluster.failure);
  json.Key("result").String(cluster.result);
  json.Key("coordinator").String(cluster.coordinator);
  json.Key("latest_checkpoint").String(status.latest_checkpoint);
  if (const proto::TrainState* training = Training(status); training != nullptr) {
    WriteTraining(*training, json);
  }
  json.Key("process").BeginArray();
  for (const ProcessState& process : cluster.process) WriteProcess(status, process, json);
  json.EndArray();
  WriteServers(status.servers, json);
  json.EndObject();
  return json.Take();
}

}  // namespace cairn::launch

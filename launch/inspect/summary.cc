#include <algorithm>
#include <map>

#include "launch/coordinator/checkpoints.h"
#include "launch/inspect/inspect.h"
#include "launch/inspect/sizes.h"
#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

// Everything that the three formats show.
struct Summary {
  const OpenedCheckpoint& opened;
  const proto::CheckpointManifest& manifest;
  std::string model;  // empty when the job cannot be read
};

// "dlf"
std::string ModelName(const proto::JobConfig& job) {
  const auto* oneof = proto::ModelConfig::descriptor()->FindOneofByName("kind");
  const auto* set = job.model().GetReflection()->GetOneofFieldDescriptor(job.model(), oneof);
  return set == nullptr ? "" : set->name();
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) StrAppend(text, text.empty() ? "" : ", ", word);
  return text;
}

// "-" for what was not measured.
std::string Metric(bool is_set, double value, int digits) {
  return is_set ? Fixed(value, digits) : "-";
}

double RowsPerSecond(const proto::TrainState& state) {
  return state.train_seconds() > 0 ? static_cast<double>(state.rows()) / state.train_seconds() : 0;
}

std::string Position(const proto::TrainState& state) {
  if (state.finished()) return "training is finished";
  if (state.window() == 0 && state.row_in_window() == 0) {
    return StrCat("start of epoch ", state.epoch() + 1);
  }
  return StrCat("epoch ", state.epoch() + 1, ", window ", state.window() + 1, ", row ",
                HumanCount(state.row_in_window()), " of it");
}

std::string Progress(const proto::TrainState& state) {
  std::string text = StrCat(CountOf(state.steps(), "step"), ", ", CountOf(state.rows(), "row"),
                            " in ", HumanSeconds(state.train_seconds()));
  if (RowsPerSecond(state) > 0) {
    StrAppend(text, ", ", HumanCount(static_cast<std::uint64_t>(RowsPerSecond(state))), " rows/s");
  }
  if (state.bad_rows() > 0) {
    StrAppend(text, "; ", CountOf(state.bad_rows(), "bad row"), " left out");
  }
  if (state.reissued_rows() > 0) {
    StrAppend(text, "; at most ", CountOf(state.reissued_rows(), "row"),
              " trained twice, after workers were lost");
  }
  if (state.skipped_steps() > 0) {
    StrAppend(text, "; ", HumanCount(state.skipped_steps()),
              " steps with non-finite values left out");
  }
  return text;
}

std::string MetricsWords(const proto::Metrics& metrics) {
  const std::string in_groups =
      metrics.has_gauc()
          ? StrCat(", gauc ", Fixed(metrics.gauc(), 5), ", pairwise ", Fixed(metrics.pairwise(), 5))
          : "";
  return StrCat("auc ", Metric(metrics.has_auc(), metrics.auc(), 5), ", logloss ",
                Metric(metrics.has_logloss(), metrics.logloss(), 5), in_groups, ", ",
                CountOf(metrics.rows(), "row"));
}

void AppendState(const proto::TrainState& state, std::string& text) {
  StrAppend(text, "position    ", Position(state), "\ntrained     ", Progress(state), "\n");
  if (!state.best_checkpoint().empty()) {
    StrAppend(text, "best        epoch ", state.best_epoch() + 1, ", monitored value ",
              Fixed(state.best_value(), 5), ", ", state.best_checkpoint(), "\n");
  }
  if (state.learning_rate_scale() != 1 || state.epochs_without_gain() > 0) {
    StrAppend(text, "schedule    learning rate x ", state.learning_rate_scale(), ", ",
              CountOf(state.epochs_without_gain(), "epoch"), " without gain\n");
  }
  if (state.has_test()) StrAppend(text, "test        ", MetricsWords(state.test()), "\n");
}

std::string HistoryTable(const proto::TrainState& state) {
  Table table({{"epoch", true},
               {"train loss", true},
               {"auc", true},
               {"logloss", true},
               {"rows", true},
               {"learning rate x", true},
               {"time", true},
               {""}});
  for (const proto::EpochRecord& epoch : state.history()) {
    const bool is_best = !state.best_checkpoint().empty() && epoch.epoch() == state.best_epoch();
    table.AddRow({StrCat(epoch.epoch() + 1), Metric(epoch.has_train_loss(), epoch.train_loss(), 5),
                  Metric(epoch.valid().has_auc(), epoch.valid().auc(), 5),
                  Metric(epoch.valid().has_logloss(), epoch.valid().logloss(), 5),
                  HumanCount(epoch.rows()), StrCat(epoch.learning_rate_scale()),
                  HumanSeconds(epoch.seconds()), is_best ? "best" : ""});
  }
  return table.Aligned("  ");
}

std::string TableTable(const proto::CheckpointManifest& manifest) {
  Table table({{"table"}, {"dim", true}, {"optimizer"}, {"rows", true}, {"bytes", true}});
  for (const proto::TableEntry& entry : manifest.table()) {
    table.AddRow({entry.name(), StrCat(entry.dim()), entry.optimizer(), HumanCount(entry.rows()),
                  HumanBytes(TableBytes(entry))});
  }
  return table.Aligned("  ");
}

std::string ShardTable(const proto::CheckpointManifest& manifest) {
  Table table({{"ps", true},
               {"folder"},
               {"slots", true},
               {"rows", true},
               {"share", true},
               {"dense chunks", true},
               {"files", true},
               {"bytes", true}});
  const std::uint64_t all = std::max<std::uint64_t>(1, TotalRows(manifest));
  for (const proto::ShardEntry& shard : manifest.shard()) {
    const FileTotals files = FilesBelow(manifest, shard.folder());
    table.AddRow(
        {StrCat(shard.ps()), shard.folder(), StrCat(shard.first_slot(), "-", shard.last_slot()),
         HumanCount(ShardRows(shard)),
         StrCat(Fixed(100.0 * static_cast<double>(ShardRows(shard)) / static_cast<double>(all), 1),
                " %"),
         HumanCount(shard.dense_chunks()), StrCat(files.count), HumanBytes(files.bytes)});
  }
  return table.Aligned("  ");
}

std::string SummaryText(const Summary& summary) {
  const proto::CheckpointManifest& manifest = summary.manifest;
  const proto::TrainState& state = manifest.state();
  const std::string& pointers = Join(summary.opened.pointers);
  std::string text = StrCat("checkpoint  ", summary.opened.folder,
                            pointers.empty() ? "" : StrCat(" (", pointers, ")"), "\njob         ",
                            manifest.job_name());
  if (!summary.model.empty()) StrAppend(text, ", model ", summary.model);
  StrAppend(text, ", seed ", manifest.seed(), "\nwritten     ",
            LocalTime(manifest.created_unix_s()), " by ", manifest.writer(), ", format ",
            manifest.format_version(), "\n");
  AppendState(state, text);
  if (state.history_size() > 0)
    StrAppend(text, "\nmetrics after each epoch\n", HistoryTable(state));
  StrAppend(text, "\ntables: ", manifest.table_size(), ", ", CountOf(TotalRows(manifest), "row"),
            ", ", HumanBytes(TotalTableBytes(manifest)), " with optimizer state\n",
            TableTable(manifest),
            "\ndense: ", CountOf(static_cast<std::uint64_t>(manifest.dense_size()), "tensor"), ", ",
            CountOf(DenseParameters(manifest), "parameter"), "\n\nshards: ", manifest.shard_size(),
            " of ", 1ull << std::min(manifest.slot_bits(), 32u), " slots; the fullest holds ",
            Fixed(Imbalance(manifest), 2), " times the mean of rows\n", ShardTable(manifest));
  const FileTotals files = FilesBelow(manifest, "");
  return StrCat(text, "\nfiles: ", files.count, ", ", HumanBytes(files.bytes), "\n");
}

void WriteMetrics(const proto::Metrics& metrics, JsonWriter& json) {
  json.BeginObject();
  json.Key("rows").Uint(metrics.rows());
  json.Key("positives").Uint(metrics.positives());
  if (metrics.has_auc()) json.Key("auc").Double(metrics.auc());
  if (metrics.has_logloss()) json.Key("logloss").Double(metrics.logloss());
  if (metrics.has_gauc()) json.Key("gauc").Double(metrics.gauc());
  if (metrics.has_pairwise()) json.Key("pairwise").Double(metrics.pairwise());
  json.EndObject();
}

void WriteState(const proto::TrainState& state, JsonWriter& json) {
  json.Key("finished").Bool(state.finished());
  json.Key("epoch").Uint(state.epoch());
  json.Key("window").Uint(state.window());
  json.Key("row_in_window").Uint(state.row_in_window());
  json.Key("steps").Uint(state.steps());
  json.Key("rows").Uint(state.rows());
  json.Key("bad_rows").Uint(state.bad_rows());
  json.Key("skipped_steps").Uint(state.skipped_steps());
  json.Key("reissued_rows").Uint(state.reissued_rows());
  json.Key("train_seconds").Double(state.train_seconds());
  json.Key("learning_rate_scale").Double(state.learning_rate_scale());
  json.Key("best_epoch").Uint(state.best_epoch());
  json.Key("best_value").Double(state.best_value());
  json.Key("best_checkpoint").String(state.best_checkpoint());
  json.Key("epochs_without_gain").Uint(state.epochs_without_gain());
  json.Key("history").BeginArray();
  for (const proto::EpochRecord& epoch : state.history()) {
    json.BeginObject();
    json.Key("epoch").Uint(epoch.epoch());
    json.Key("rows").Uint(epoch.rows());
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

void WriteContents(const proto::CheckpointManifest& manifest, JsonWriter& json) {
  json.Key("table").BeginArray();
  for (const proto::TableEntry& table : manifest.table()) {
    json.BeginObject();
    json.Key("name").String(table.name());
    json.Key("dim").Uint(table.dim());
    json.Key("optimizer").String(table.optimizer());
    json.Key("state_floats").Uint(table.state_floats());
    json.Key("storage").String(table.storage());
    json.Key("rows").Uint(table.rows());
    json.Key("bytes").Uint(TableBytes(table));
    json.EndObject();
  }
  json.EndArray();
  json.Key("dense").BeginArray();
  for (const proto::DenseTensorEntry& tensor : manifest.dense()) {
    json.BeginObject();
    json.Key("name").String(tensor.name());
    json.Key("dim").BeginArray().Inline();
    for (const std::uint32_t dim : tensor.dim()) json.Uint(dim);
    json.EndArray();
    json.Key("optimizer").String(tensor.optimizer());
    json.EndObject();
  }
  json.EndArray();
  json.Key("dense_parameters").Uint(DenseParameters(manifest));
  json.Key("slots").Uint(1ull << std::min(manifest.slot_bits(), 32u));
  json.Key("shard").BeginArray();
  for (const proto::ShardEntry& shard : manifest.shard()) {
    const FileTotals files = FilesBelow(manifest, shard.folder());
    json.BeginObject();
    json.Key("ps").Uint(shard.ps());
    json.Key("folder").String(shard.folder());
    json.Key("first_slot").Uint(shard.first_slot());
    json.Key("last_slot").Uint(shard.last_slot());
    json.Key("rows").Uint(ShardRows(shard));
    json.Key("dense_chunks").Uint(shard.dense_chunks());
    json.Key("files").Uint(files.count);
    json.Key("bytes").Uint(files.bytes);
    json.EndObject();
  }
  json.EndArray();
  json.Key("file").BeginArray();
  for (const proto::FileEntry& file : manifest.file()) {
    json.BeginObject().Inline();
    json.Key("path").String(file.path());
    json.Key("bytes").Uint(file.bytes());
    json.Key("xxh3").String(file.xxh3());
    json.EndObject();
  }
  json.EndArray();
}

std::string SummaryJson(const Summary& summary) {
  const proto::CheckpointManifest& manifest = summary.manifest;
  JsonWriter json;
  json.BeginObject();
  json.Key("checkpoint").String(summary.opened.folder);
  json.Key("pointers").BeginArray().Inline();
  for (const std::string& pointer : summary.opened.pointers) json.String(pointer);
  json.EndArray();
  json.Key("damage").BeginArray();
  for (const std::string& damage : summary.opened.damage) json.String(damage);
  json.EndArray();
  json.Key("job").String(manifest.job_name());
  json.Key("model").String(summary.model);
  json.Key("seed").Uint(manifest.seed());
  json.Key("created_unix_s").Int(manifest.created_unix_s());
  json.Key("writer").String(manifest.writer());
  json.Key("format_version").Uint(manifest.format_version());
  json.Key("state").BeginObject();
  WriteState(manifest.state(), json);
  json.EndObject();
  WriteContents(manifest, json);
  json.EndObject();
  return json.Take();
}

std::string SummaryCsv(const Summary& summary) {
  const proto::CheckpointManifest& manifest = summary.manifest;
  const proto::TrainState& state = manifest.state();
  const FileTotals files = FilesBelow(manifest, "");
  Table table({{"field"}, {"value"}});
  const auto add = [&table](const char* field, const auto& value) {
    table.AddRow({field, StrCat(value)});
  };
  add("checkpoint", summary.opened.folder);
  add("job", manifest.job_name());
  add("model", summary.model);
  add("seed", manifest.seed());
  add("created_unix_s", manifest.created_unix_s());
  add("writer", manifest.writer());
  add("format_version", manifest.format_version());
  add("finished", state.finished());
  add("epoch", state.epoch());
  add("window", state.window());
  add("row_in_window", state.row_in_window());
  add("steps", state.steps());
  add("rows", state.rows());
  add("bad_rows", state.bad_rows());
  add("train_seconds", state.train_seconds());
  add("best_epoch", state.best_epoch());
  add("best_value", state.best_value());
  if (state.test().has_auc()) add("test_auc", state.test().auc());
  if (state.test().has_logloss()) add("test_logloss", state.test().logloss());
  if (state.test().has_gauc()) add("test_gauc", state.test().gauc());
  if (state.test().has_pairwise()) add("test_pairwise", state.test().pairwise());
  add("tables", manifest.table_size());
  add("table_rows", TotalRows(manifest));
  add("table_bytes", TotalTableBytes(manifest));
  add("dense_parameters", DenseParameters(manifest));
  add("shards", manifest.shard_size());
  add("files", files.count);
  add("file_bytes", files.bytes);
  return table.Csv();
}

}  // namespace

Status InspectSummary(const std::string& path, Format format, Output& out, std::ostream& messages) {
  ASSIGN_OR_RETURN(OpenedCheckpoint opened, OpenCheckpoint(path));
  Summary summary{opened, *opened.manifest, ""};
  proto::JobConfig job;
  const Status read = ReadCheckpointJob(opened.folder, &job);
  if (read.ok()) {
    summary.model = ModelName(job);
  } else if (opened.damage.empty()) {
    opened.damage.emplace_back(read.message());
  }
  switch (format) {
    case Format::kTable:
      out.Write(SummaryText(summary));
      break;
    case Format::kJson:
      out.Write(SummaryJson(summary));
      break;
    case Format::kCsv:
      out.Write(SummaryCsv(summary));
      break;
  }
  RETURN_IF_ERROR(out.status());
  return TellDamage(opened.damage, messages);
}

}  // namespace cairn::launch

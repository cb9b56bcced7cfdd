// `cairn eval`: the quality of a checkpoint's model on a data set.
#include <gflags/gflags.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <string_view>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "launch/local/scorer.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/metrics/binary_metrics.h"

DEFINE_string(checkpoint, "", "CHECKPOINT: a run directory (its latest), or one checkpoint");
DEFINE_string(split, "test", "SPLIT: train, valid or test");
DEFINE_string(input, "", "FILES: score these instead, names or globs with commas between them");

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"checkpoint", "split", "input", "set"};
constexpr Usage kUsage = {
    .command = "cairn eval",
    .examples =
        "  cairn eval --checkpoint=runs/dlf_synth\n"
        "  cairn eval --checkpoint=runs/dlf_synth --split=valid\n"
        "  cairn eval --checkpoint=runs/dlf_synth --input=new.csv.gz\n",
    .summary =
        "Scores labelled rows with a checkpoint's model; the last line on stdout holds AUC and log "
        "loss.\n",
    .arguments = "",
    .flags = kFlags,
};

struct Scores {
  std::vector<float> logits;
  std::vector<std::uint8_t> labels;
  std::vector<std::uint64_t> groups;
  ScoreCounts counts;
};

Status Evaluate(proto::DataSplit split, std::span<const std::string> overrides, Scores* scores,
                std::string* checkpoint) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Scorer> scorer, Scorer::Open(FLAGS_checkpoint, overrides));
  *checkpoint = scorer->checkpoint();
  std::cerr << "scoring with " << *checkpoint << "\n";
  const auto sink = [scores](const worker::Batch& batch, std::span<const float> logits) {
    scores->logits.insert(scores->logits.end(), logits.begin(), logits.end());
    for (const float label : batch.labels) scores->labels.push_back(label > 0.5f ? 1 : 0);
    scores->groups.insert(scores->groups.end(), batch.groups.begin(), batch.groups.end());
    return OkStatus();
  };
  ASSIGN_OR_RETURN(scores->counts, scorer->Score(split, {}, sink));
  return OkStatus();
}

}  // namespace

int RunEval(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_checkpoint.empty()) return UsageError(kUsage, "--checkpoint=CHECKPOINT is missing");
  proto::DataSplit split = proto::TEST;
  if (FLAGS_split == "train") {
    split = proto::TRAIN;
  } else if (FLAGS_split == "valid") {
    split = proto::VALID;
  } else if (FLAGS_split != "test") {
    return UsageError(kUsage, "--split must be train, valid or test");
  }
  std::vector<std::string> overrides(Overrides().begin(), Overrides().end());
  overrides.emplace_back("data.shuffle=false");
  if (!FLAGS_input.empty()) {
    split = proto::TEST;
    overrides.push_back(InputOverride(FLAGS_input));
  }
  Scores scores;
  std::string checkpoint;
  if (const Status status = Evaluate(split, overrides, &scores, &checkpoint); !status.ok())
    return ReportError(status);
  const auto metrics = worker::ComputeMetrics(scores.logits, scores.labels, scores.groups);
  if (!metrics.ok()) return ReportError(metrics.status());
  std::printf("RESULT");
  if (metrics->auc.has_value()) std::printf(" auc=%.6f", *metrics->auc);
  std::printf(" logloss=%.6f", metrics->logloss);
  if (metrics->gauc.has_value()) std::printf(" gauc=%.6f", *metrics->gauc);
  if (metrics->pairwise.has_value()) std::printf(" pairwise=%.6f", *metrics->pairwise);
  std::printf(" rows=%llu positives=%llu bad_rows=%llu checkpoint=%s\n",
              static_cast<unsigned long long>(metrics->rows),
              static_cast<unsigned long long>(metrics->positives),
              static_cast<unsigned long long>(scores.counts.bad_rows), checkpoint.c_str());
  return 0;
}

}  // namespace cairn::launch

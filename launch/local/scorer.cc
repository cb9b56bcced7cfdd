#include "launch/local/scorer.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "common/config/config.h"
#include "common/io/file.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/local/local_job.h"
#include "launch/local/local_ps_client.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "worker/features/vocabulary.h"
#include "worker/train/model_runner.h"

namespace cairn::launch {
namespace {

// A folder that goes with its owner. Beside the checkpoint its files can be linked, elsewhere they
// are copied.
class ScratchFolder {
 public:
  static Result<std::unique_ptr<ScratchFolder>> Make(const std::string& beside) {
    const char* temporary = std::getenv("TMPDIR");
    for (const std::string& parent :
         {FolderOf(beside), std::string(temporary != nullptr ? temporary : "/tmp")}) {
      std::string path = JoinPath(parent, ".score-XXXXXX");
      if (mkdtemp(path.data()) != nullptr) return std::make_unique<ScratchFolder>(path);
    }
    return absl::UnavailableError(StrCat("cannot write beside ", beside, " nor in $TMPDIR"));
  }
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  ~ScratchFolder() { RemoveTree(path_).IgnoreError(); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

class ScorerImpl : public Scorer {
 public:
  Status Init(const std::string& path, std::span<const std::string> overrides) {
    ASSIGN_OR_RETURN(checkpoint_, ResolveCheckpoint(path));
    RETURN_IF_ERROR(RequireSound(checkpoint_));
    proto::JobConfig stored;
    RETURN_IF_ERROR(ReadCheckpointJob(checkpoint_, &stored));
    ASSIGN_OR_RETURN(job_,
                     LoadJobText(PrintJob(stored), JoinPath(checkpoint_, kJobFile), overrides));
    RETURN_IF_ERROR(LoadVocabulary());
    ASSIGN_OR_RETURN(scratch_, ScratchFolder::Make(checkpoint_));
    ps::PsOptions options;
    options.folder = scratch_->path();
    ASSIGN_OR_RETURN(server_, ps::PsCore::Make(job_, options));
    proto::RestoreReply restored;
    RETURN_IF_ERROR(server_->Restore(checkpoint_, &restored));
    client_ = MakeLocalPsClient(job_, {server_.get()}, options.slot_bits);
    ASSIGN_OR_RETURN(model_, worker::ModelRunner::Make(job_, ComputeThreads(job_)));
    RETURN_IF_ERROR(client_->RegisterDense(model_->Layout(), model_->InitialDense()));
    for (const worker::DenseTensor& tensor : model_->Layout()) dense_floats_ += tensor.Floats();
    return OkStatus();
  }

  const proto::JobConfig& job() const override { return job_; }
  const std::string& checkpoint() const override { return checkpoint_; }

  Result<ScoreCounts> Score(
      proto::DataSplit split, worker::DatasetOptions options,
      const std::function<Status(const worker::Batch&, std::span<const float>)>& sink) override {
    options.vocabulary = vocabulary_;
    ASSIGN_OR_RETURN(const std::unique_ptr<worker::Dataset> data,
                     worker::Dataset::Make(job_, split, options));
    ScoreCounts counts;
    for (std::uint64_t window = 0;; ++window) {
      ASSIGN_OR_RETURN(const worker::WindowInfo info, data->OpenWindow(0, window));
      for (std::uint64_t begin = 0; begin < info.rows; begin += job_.train().batch_size())
        RETURN_IF_ERROR(ScoreBatch(data.get(), begin, sink, &counts));
      if (info.last) return counts;
    }
  }

 private:
  Status LoadVocabulary() {
    if (!worker::NeedsVocabulary(job_)) return OkStatus();
    const std::string path = JoinPath(checkpoint_, kVocabularyFile);
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    ASSIGN_OR_RETURN(worker::Vocabulary vocabulary, worker::Vocabulary::Parse(bytes), path);
    RETURN_IF_ERROR(worker::CheckVocabulary(vocabulary, job_), path);
    vocabulary_ = std::make_shared<worker::Vocabulary>(std::move(vocabulary));
    return OkStatus();
  }

  Status ScoreBatch(worker::Dataset* data, std::uint64_t begin,
                    const std::function<Status(const worker::Batch&, std::span<const float>)>& sink,
                    ScoreCounts* counts) {
    std::uint64_t bad_rows = 0;
    RETURN_IF_ERROR(data->ReadBatch(begin, begin + job_.train().batch_size(), &batch_, &bad_rows));
    counts->rows += batch_.rows;
    counts->bad_rows += bad_rows;
    if (batch_.rows == 0) return OkStatus();
    RETURN_IF_ERROR(worker::PullStep(batch_, model_->TableDims(), dense_floats_,
                                     /*with_dense=*/true, worker::PullMode::kScore, /*step=*/0,
                                     client_.get(), &buffers_));
    logits_.resize(batch_.rows);
    model_->Score(batch_, &buffers_, logits_);
    return sink(batch_, logits_);
  }

  std::string checkpoint_;
  proto::JobConfig job_;
  std::shared_ptr<const worker::Vocabulary> vocabulary_;  // null if the job needs none
  std::unique_ptr<ScratchFolder> scratch_;                // outlives the server
  std::unique_ptr<ps::PsCore> server_;
  std::unique_ptr<worker::PsClient> client_;
  std::unique_ptr<worker::ModelRunner> model_;
  std::uint64_t dense_floats_ = 0;
  worker::Batch batch_;
  worker::StepBuffers buffers_;
  std::vector<float> logits_;
};

}  // namespace

Result<std::unique_ptr<Scorer>> Scorer::Open(const std::string& checkpoint,
                                             std::span<const std::string> overrides) {
  auto scorer = std::make_unique<ScorerImpl>();
  RETURN_IF_ERROR(scorer->Init(checkpoint, overrides));
  return scorer;
}

}  // namespace cairn::launch

package server

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// maxJobs is how many finished jobs are remembered.
const maxJobs = 32

// Job is a piece of work that takes longer than a request.
type Job struct {
	ID       string          `json:"id"`
	Kind     string          `json:"kind" enum:"verify"`
	Status   string          `json:"status" enum:"running,done,failed,stopped"`
	Done     uint64          `json:"done"`
	Total    uint64          `json:"total"`
	Started  time.Time       `json:"started"`
	Finished *time.Time      `json:"finished,omitempty"`
	Error    string          `json:"error,omitempty"`
	Report   *journal.Report `json:"report,omitempty"`
}

// jobs are the jobs of this process, newest last. One runs at a time.
type jobs struct {
	mu      sync.Mutex
	list    []*Job
	cancel  context.CancelFunc // of the one that runs; nil if none does
	stopped bool
	running sync.WaitGroup
}

type jobInput struct {
	ID string `path:"id" maxLength:"64"`
}

type jobOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     Job
}

type jobsOutput struct {
	Body struct {
		Jobs []Job `json:"jobs"`
	}
}

func (s *Server) jobRoutes() {
	operation(s, auth.Admin, huma.Operation{
		Method: http.MethodPost, Path: "/v1/verify", OperationID: "start-verify", Tags: []string{"jobs"},
		Summary:       "Verify the journal",
		Description:   "Begins a job that recomputes every digest, link and count from the stored bytes. While one runs, it is the answer to this too.",
		DefaultStatus: http.StatusAccepted,
	}, s.startVerify)
	operation(s, auth.Admin, huma.Operation{
		Method: http.MethodGet, Path: "/v1/jobs/{id}", OperationID: "get-job", Tags: []string{"jobs"}, Summary: "How far a job is, or what it found",
	}, func(_ context.Context, _ *Node, in *jobInput) (*jobOutput, error) {
		j, ok := s.jobs.get(in.ID)
		if !ok {
			return nil, problem(http.StatusNotFound, "not-found", "there is no such job; jobs are forgotten when the node stops")
		}
		return &jobOutput{Status: http.StatusOK, Body: j}, nil
	})
	operation(s, auth.Admin, huma.Operation{
		Method: http.MethodGet, Path: "/v1/jobs", OperationID: "list-jobs", Tags: []string{"jobs"}, Summary: "Jobs of this node, newest first",
	}, func(context.Context, *Node, *struct{}) (*jobsOutput, error) {
		var out jobsOutput
		out.Body.Jobs = s.jobs.all()
		return &out, nil
	})
}

func (s *Server) startVerify(_ context.Context, n *Node, _ *struct{}) (*jobOutput, error) {
	j := s.jobs.start("verify", func(ctx context.Context, progress func(done, total uint64)) (*journal.Report, error) {
		r, err := n.Journal.Verify(ctx, progress)
		return &r, err
	})
	return &jobOutput{Status: http.StatusAccepted, Location: "/v1/jobs/" + j.ID, Body: j}, nil
}

// start begins a job, or returns the one that runs.
func (js *jobs) start(kind string, f func(ctx context.Context, progress func(done, total uint64)) (*journal.Report, error)) Job {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.cancel != nil {
		return *js.list[len(js.list)-1]
	}
	j := &Job{ID: journal.NewID().String(), Kind: kind, Status: "running", Started: time.Now().UTC()}
	if js.stopped {
		j.Status = "stopped"
		return *j
	}
	if len(js.list) == maxJobs {
		js.list = js.list[1:]
	}
	js.list = append(js.list, j)
	ctx, cancel := context.WithCancel(context.Background())
	js.cancel = cancel
	js.running.Go(func() {
		r, err := f(ctx, func(done, total uint64) {
			js.mu.Lock()
			j.Done, j.Total = done, total
			js.mu.Unlock()
		})
		js.mu.Lock()
		defer js.mu.Unlock()
		now := time.Now().UTC()
		j.Finished = &now
		switch {
		case ctx.Err() != nil:
			j.Status = "stopped"
		case err != nil:
			j.Status, j.Error = "failed", err.Error()
		default:
			j.Status, j.Report = "done", r
		}
		cancel()
		js.cancel = nil
	})
	return *j
}

func (js *jobs) get(id string) (Job, bool) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.list {
		if j.ID == id {
			return *j, true
		}
	}
	return Job{}, false
}

func (js *jobs) all() []Job {
	js.mu.Lock()
	defer js.mu.Unlock()
	out := make([]Job, 0, len(js.list))
	for _, v := range slices.Backward(js.list) {
		out = append(out, *v)
	}
	return out
}

// stop ends the job that runs and waits for it.
func (js *jobs) stop() {
	js.mu.Lock()
	js.stopped = true
	if js.cancel != nil {
		js.cancel()
	}
	js.mu.Unlock()
	js.running.Wait()
}

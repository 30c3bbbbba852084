package actors

import (
	"context"
	"errors"
	"time"

	"github.com/tokaworks/toka/journal"
)

// stopWithin bounds how long Run waits for what is under way when f is done.
const stopWithin = 30 * time.Second

// Run opens the journal in dir, runs a system over it while f runs, and stops
// and closes both. With an empty dir the journal is in memory. It returns what
// went wrong, f's error first. Programs that need more say over the journal
// use journal.Open and Start.
func Run(ctx context.Context, dir string, r *Registry, f func(sys *System) error) error {
	level := journal.LevelFsync
	if dir == "" {
		level = journal.LevelMemory
	}
	j, err := journal.Open(dir, journal.Options{Level: level})
	if err != nil {
		return err
	}
	sys, err := Start(j, r, Options{})
	if err != nil {
		return errors.Join(err, j.Close())
	}
	err = f(sys)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return errors.Join(err, sys.Stop(stop), j.Close())
}

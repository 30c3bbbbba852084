package actors

import "context"

// SaveBus has the bus store its checkpoint now.
func SaveBus(s *System) {
	saved := make(chan struct{})
	if err := s.onBus(context.Background(), func() { s.bus.save(func() { close(saved) }) }); err != nil {
		panic(err)
	}
	<-saved
}

// BusAt returns the position up to which the bus has handed over everything.
func BusAt(s *System) uint64 { return s.bus.position.Load() }

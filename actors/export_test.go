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

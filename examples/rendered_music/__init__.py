"""Music composed by rule and rendered with a General MIDI sound font: training data that anyone can make again.

A clip goes through three steps, each in its own module, and each a function of the seed alone:

1. compose: a module of ``genres`` or ``solos`` writes a :class:`~rendered_music.score.Song`;
2. MIDI: ``score`` adds the human touch and writes a standard MIDI file;
3. audio: ``render`` plays the file with the ``fluidsynth`` program and adds the effects of a recording chain.

``theory`` holds chords and scales, ``patterns`` rhythm and melody, ``dataset`` the work list, its seeds and its files.
"""

"""Published test sets as people have them on disk: recognised, checked, and read image by image."""

window.order = [...(window.order ?? []), 'hidden'];

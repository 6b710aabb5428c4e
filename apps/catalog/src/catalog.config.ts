import { defineConfig } from '@flotilla/service/config';

/** The catalogue has no settings beyond those of every service. */
export class CatalogConfig extends defineConfig({}) {}
